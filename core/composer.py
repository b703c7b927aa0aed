"""Turns deliveries into posts: looks up what they refer to, renders them, makes links to their files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from msgspec.structs import replace

from core.contract import Adapter, Capabilities, Outbound, OutFile
from core.deps import Deps
from core.jobs import Job
from core.model import Author, FileRef, MessageId, NativeId, RoomId, Text, said_in
from core.rendering import Renderer, size_label
from core.text.safety import clean_name, defuse_mass_mentions
from core.wire import Delivery, Posted

OpenFile = Callable[[FileRef], AsyncIterator[bytes]]
TextCache = dict[tuple[int, str, int, int, str], tuple[Capabilities, Text]]
"""Texts of one batch: (entry, style, id of the capabilities, how it answers, how long ago) → the text, and the
capabilities, which are kept so that nothing else gets their id."""
Known = dict[tuple[RoomId, MessageId], Posted]
"""What messages are in rooms."""
FILE_NAME_CHARS = 200
SEVERAL = Author("", "Several people")
"""The author of a post that stands for messages of different people: their names are in its text."""


class Composer:
    """Composes the posts of one account."""

    def __init__(self, adapter: Adapter, deps: Deps, open_file: OpenFile) -> None:
        self._adapter = adapter
        self._deps = deps
        self._open_file = open_file
        self.renderer = Renderer(deps.settings.max_name_chars)

    async def posted(self, jobs: Sequence[Job]) -> Known:
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
        if unknown and len(jobs) > 1:
            asked.update(_in_batch(jobs, unknown))
            unknown = [key for key in unknown if asked[key] is None]
        if unknown:
            found = await self._deps.ids.posted(unknown, self._deps.now_ms())
            asked.update(zip(unknown, found, strict=True))
        return {key: known for key, known in asked.items() if known}

    def message(self, job: Job, known: Known, cache: TextCache) -> Outbound:
        """The post of a new message or of the bot's own words. Equal texts of one batch are one object."""
        delivery, answered = self._answering(job, known)
        caps = self._adapter.capabilities(job.room)
        reply = _native(answered) if caps.reply != "fallback" else None
        ago = job.ago or ""
        cache_key = (job.entry, job.style, id(caps), (answered is not None) + (reply is not None), ago)
        text = cached[1] if (cached := cache.get(cache_key)) else None
        files: tuple[OutFile, ...] = ()
        if delivery.files:
            files = tuple(self._out_file(ref) for ref in delivery.files)
        if text is None:
            text = self.renderer.message(delivery, job.style, caps, replies_natively=reply is not None, ago=ago)
            if files and caps.file == "fallback":
                text = self.renderer.files(text, [file_line(file) for file in files])
            cache[cache_key] = caps, text
        files = files if caps.file != "fallback" else ()
        return self.post(job, text, reply, self._thread(job, caps, known), files)

    def line(self, job: Job, known: Known) -> tuple[Text, Text]:
        """A new message as one of several in a post: what stands before its words, and its words."""
        delivery, _ = self._answering(job, known)
        return self.renderer.line(delivery, job.style, self._adapter.capabilities(job.room), job.ago or "")

    def together(self, jobs: Sequence[Job], key: str, text: Text, known: Known) -> Outbound:
        """The post of several messages."""
        first = jobs[0]
        caps = self._adapter.capabilities(first.room)
        authors = {job.delivery.author for job in jobs}
        return Outbound(
            first.room,
            key,
            text,
            self.renderer.author(first.delivery) if len(authors) == 1 else SEVERAL,
            None,
            self._thread(first, caps, known),
            (),
            self._deps.settings.max_parts,
        )

    def link_lines(self, delivery: Delivery) -> list[str]:
        """Links to a message's files, for a post that cannot have them."""
        return [file_line(self._out_file(ref)) for ref in delivery.files]

    def _answering(self, job: Job, known: Known) -> tuple[Delivery, Posted | None]:
        """The delivery, with what is known here of the message that it answers."""
        delivery = job.delivery
        if not delivery.reply_to:
            return delivery, None
        answered = known.get((job.room, delivery.reply_to))
        if answered is None:
            # It never stood in this room (hushed, said elsewhere or before): its words are not this room's to read.
            delivery = replace(delivery, reply_to=MessageId(""))
        elif not delivery.reply_author:
            delivery = replace(delivery, reply_author=answered.author_name)
        return delivery, answered

    def _thread(self, job: Job, caps: Capabilities, known: Known) -> NativeId | None:
        thread = job.delivery.thread
        return _native(known.get((job.room, thread))) if thread and caps.thread != "fallback" else None

    def post(
        self,
        job: Job,
        text: Text,
        reply_to: NativeId | None = None,
        thread: NativeId | None = None,
        files: tuple[OutFile, ...] = (),
    ) -> Outbound:
        """A post of ``text`` for a job."""
        return Outbound(
            job.room,
            job.key(),
            text,
            self.renderer.author(job.delivery),
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
        return OutFile(file_name(ref.name), ref.mime, ref.size_bytes, link, lambda: self._open_file(ref))


def file_name(raw: str) -> str:
    """The last part of a name, safe to show and to hand to another platform."""
    last = raw.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return clean_name(last, FILE_NAME_CHARS).strip("\u2068\u2069") if last else "file"


def file_line(file: OutFile) -> str:
    """``📎 plan.pdf (1.4 MB) https://…``."""
    size = size_label(file.size_bytes)
    name = defuse_mass_mentions(Text(clean_name(file.name, FILE_NAME_CHARS))).plain
    return f"📎 {name}{f' ({size})' if size else ''} {file.link}"


def _in_batch(
    jobs: Sequence[Job], asked: Sequence[tuple[RoomId, MessageId]]
) -> dict[tuple[RoomId, MessageId], Posted | None]:
    """Those of ``asked`` that are posted together with what refers to them, and so have no native id yet."""
    wanted = set(asked)
    found: dict[tuple[RoomId, MessageId], Posted | None] = {}
    for job in jobs:
        about = (job.room, job.delivery.message)
        if about in wanted and job.delivery.kind == "new" and job.delivery.author:
            found[about] = Posted(job.delivery.author.id, job.delivery.author.name, ())
    return found


def _native(posted: Posted | None) -> NativeId | None:
    return posted.natives[0] if posted and posted.natives else None
