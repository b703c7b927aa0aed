"""Turns deliveries into posts: looks up what they refer to, renders them, makes links to their files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from msgspec.structs import replace

from core.contract import Adapter, Capabilities, Outbound, OutFile
from core.deps import Deps
from core.model import FileRef, MessageId, NativeId, RoomId, Text, said_in
from core.outbox import Job
from core.rendering import Renderer, size_label
from core.wire import Posted

OpenFile = Callable[[FileRef], AsyncIterator[bytes]]


class Composer:
    """Composes the posts of one account."""

    def __init__(self, adapter: Adapter, deps: Deps, open_file: OpenFile) -> None:
        self._adapter = adapter
        self._deps = deps
        self._open_file = open_file
        self.renderer = Renderer(deps.settings.max_name_chars)

    async def posted(self, jobs: Sequence[Job]) -> dict[tuple[RoomId, MessageId], Posted]:
        """What every message that ``jobs`` refer to is in the rooms they are for, in one round trip."""
        asked: dict[tuple[RoomId, MessageId], Posted | None] = {}
        for job in jobs:
            delivery = job.delivery
            about = delivery.message if delivery.kind in ("edit", "delete", "react") else MessageId("")
            for message in (about, delivery.reply_to, delivery.thread):
                if message:
                    room, native = said_in(message)
                    asked[job.room, message] = Posted("", "", (native,)) if room == job.room else None
        unknown = [key for key, known in asked.items() if known is None]
        if unknown:
            found = await self._deps.ids.posted(unknown, self._deps.now_ms())
            asked.update(zip(unknown, found, strict=True))
        return {key: known for key, known in asked.items() if known}

    def message(
        self, job: Job, known: dict[tuple[RoomId, MessageId], Posted], cache: dict[tuple[int, str, int], Text]
    ) -> Outbound:
        """The post of a new message or of the bot's own words. Equal texts of one batch are one object."""
        delivery = job.delivery
        caps = self._adapter.capabilities(job.room)
        reply = thread = None
        if delivery.reply_to and caps.reply != "fallback":
            reply = _native(known.get((job.room, delivery.reply_to)))
        if delivery.thread and caps.thread != "fallback":
            thread = _native(known.get((job.room, delivery.thread)))
        if delivery.reply_to and not delivery.reply_author and (answered := known.get((job.room, delivery.reply_to))):
            # Known from the id map of this very room: no other room's words can come in this way.
            delivery = replace(delivery, reply_author=answered.author_name)
        cache_key = (job.entry, job.style, id(caps) if reply is None else -id(caps))
        text = cache.get(cache_key)
        files: tuple[OutFile, ...] = ()
        if delivery.files:
            files = tuple(self._out_file(ref) for ref in delivery.files)
        if text is None:
            text = self.renderer.message(delivery, job.style, caps, replies_natively=reply is not None)
            if files and caps.file == "fallback":
                text = self.renderer.files(text, [file_line(file) for file in files])
            cache[cache_key] = text
        return self.post(job, text, reply, thread, files if caps.file != "fallback" else ())

    def post(
        self,
        job: Job,
        text: Text,
        reply_to: NativeId | None = None,
        thread: NativeId | None = None,
        files: tuple[OutFile, ...] = (),
    ) -> Outbound:
        """A post of ``text`` for a job."""
        author = job.delivery.author
        return Outbound(
            job.room,
            job.key(),
            text,
            self.renderer.author(author) if author else None,
            reply_to,
            thread,
            files,
            self._deps.settings.max_parts,
        )

    def correction(self, job: Job, caps: Capabilities) -> Outbound:
        """The post that stands for an edit where there are none."""
        return self.post(job, self.renderer.correction(job.delivery, job.style, caps))

    def _out_file(self, ref: FileRef) -> OutFile:
        payload = {"a": ref.account, "r": ref.ref, "n": ref.name, "m": ref.mime}
        link = f"{self._deps.public_url}/f/{self._deps.links.sign('file', payload)}"
        return OutFile(ref.name, ref.mime, ref.size_bytes, link, lambda: self._open_file(ref))


def file_line(file: OutFile) -> str:
    """``📎 plan.pdf (1.4 MB) https://…``."""
    size = size_label(file.size_bytes)
    return f"📎 {file.name}{f' ({size})' if size else ''} {file.link}"


def _native(posted: Posted | None) -> NativeId | None:
    return posted.natives[0] if posted and posted.natives else None
