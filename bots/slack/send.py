"""Posting, changing and deleting posts; files; and finding out whether a post arrived."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import structlog

from bots.slack import blocks
from bots.slack.api import Api, Refused
from bots.slack.blocks import Json
from bots.slack.config import SlackConfig
from bots.slack.memory import Memory
from bots.slack.receive import ID, MARKER, TS
from core.composer import file_line
from core.contract import AdapterError, Outbound, OutFile, Rejected
from core.model import NativeId, Text, native_room
from core.text.ops import concat, web_link

log = structlog.get_logger()
REMEMBERED: Final = 1_000
SEARCHED: Final = 200
SEARCHED_PAGES: Final = 5
SHARE_TRIES: Final = 8
SHARE_WAIT_S: Final = 0.25
IN_MEMORY_BYTES: Final = 1_048_576
_NO_THREAD: Final = ("thread_not_found", "cannot_reply_to_message", "invalid_thread_ts")


class Sender:
    """Posts of one account."""

    def __init__(self, api: Api, config: SlackConfig, memory: Memory) -> None:
        self._api = api
        self._config = config
        self._memory = memory
        self._done: OrderedDict[str, dict[int, str]] = OrderedDict()
        """By the key of a post that is not complete: the ts of each step that is done."""

    async def send(self, outbound: Outbound) -> list[NativeId]:
        """Post it all; another try with the same key goes on after the last step that was done."""
        channel = native_room(outbound.room)
        done = self._steps_of(outbound.key)
        where = await self._thread(channel, outbound)
        text, files = outbound.text, []
        for file in outbound.files:
            if file.size_bytes > self._config.file_limit_bytes:
                text = concat(text, Text(("\n" if text.plain else "") + file_line(file)))
            else:
                files.append(file)
        texts = blocks.parts(blocks.outgoing(text), outbound.max_parts)
        if not texts and not files:
            raise Rejected("There is nothing in it that Slack could show.")
        for step, part in enumerate(texts):
            if step not in done:
                once = {} if step else where
                mark = {"key": outbound.key, "part": step, "of": len(texts)}
                done[step] = await self._post(channel, part, outbound, {**_inside(where), **once}, mark)
        for step, file in enumerate(files, len(texts)):
            if step not in done:
                mark = {"key": outbound.key, "part": step, "of": len(texts)}
                done[step] = await self._file_or_link(channel, file, outbound, where, mark)
        self._done.pop(outbound.key, None)
        natives = [NativeId(done[step]) for step in sorted(done) if done[step]]
        await self._note(channel, natives, where, sum(bool(done[step]) for step in done if step >= len(texts)))
        return natives

    def _steps_of(self, key: str) -> dict[int, str]:
        done = self._done.setdefault(key, {})
        self._done.move_to_end(key)
        while len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        return done

    async def _thread(self, channel: str, outbound: Outbound) -> dict[str, Any]:
        """Where in the channel it stands. A thread hangs on its first message, whichever of its own is answered."""
        answered = outbound.thread or (outbound.reply_to if self._config.replies != "words" else None)
        if not answered or not TS.fullmatch(answered):
            return {}
        root = await self._memory.marked("root", channel, answered) or str(answered)
        aloud = not outbound.thread and root == answered and self._config.replies == "thread and channel"
        return {"thread_ts": root} | ({"reply_broadcast": True} if aloud else {})

    async def _note(self, channel: str, natives: list[NativeId], where: Json, files: int) -> None:
        if files and natives:
            await self._memory.mark("files", channel, natives[0], str(files))
        for native in natives if where else ():
            await self._memory.mark("root", channel, native, where["thread_ts"])

    async def _post(
        self, channel: str, part: Text, outbound: Outbound | None, where: Json, mark: Json | None = None
    ) -> str:
        params = self._words(part) | dict(where) | (self._speaker(outbound) if outbound else {})
        if mark:
            params["metadata"] = {"event_type": MARKER, "event_payload": mark}
        try:
            made = await self._api.call("chat.postMessage", channel=channel, **params)
        except Refused as refused:
            if refused.error not in _NO_THREAD or "thread_ts" not in where:
                raise
            # What it answers is gone; its words are not to be lost with it.
            return await self._post(channel, part, outbound, {}, mark)
        return str(made.get("ts") or "")

    def _words(self, part: Text) -> dict[str, Any]:
        return {
            "text": blocks.fallback(part),
            "blocks": blocks.write(part),
            "mrkdwn": False,
            "parse": "none",
            "link_names": False,
        }

    def _speaker(self, outbound: Outbound) -> dict[str, Any]:
        author = outbound.author
        if author is None or not self._config.customize:
            return {}
        return {"username": author.name} | ({"icon_url": author.avatar_url} if web_link(author.avatar_url) else {})

    # --- files ---

    async def _file_or_link(self, channel: str, file: OutFile, outbound: Outbound, where: Json, mark: Json) -> str:
        """Share a file; where it cannot be had or Slack does not take it, a link says best what has become of it."""
        try:
            return await self._file(channel, file, outbound, where, mark["part"] - mark["of"])
        except Rejected as error:
            log.warning("slack does not take a file", reason=error.reason)
        return await self._post(channel, blocks.outgoing(Text(file_line(file))), outbound, _inside(where), mark)

    async def _file(self, channel: str, file: OutFile, outbound: Outbound, where: Json, number: int) -> str:
        """Share a file: Slack shows it under the app's own name, so the author's stands beside it
        (docs.slack.dev/messaging/working-with-files)."""
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as content:
            size = 0
            async for chunk in file.open():
                size += len(chunk)
                if size > self._config.file_limit_bytes:
                    raise Rejected(f"The file is larger than {self._config.file_limit_bytes} bytes.")
                content.write(chunk)
            if not size:
                raise Rejected("The file is empty, and Slack takes no empty files.")
            content.seek(0)
            got = await self._api.ask("files.getUploadURLExternal", filename=file.name, length=size)
            await self._api.upload(str(got.get("upload_url") or ""), content)
        native = str(got.get("file_id") or "")
        await self._memory.mark("upload", outbound.key, str(number), native)
        author = outbound.author
        comment = f"{blocks.escape(author.name)}:" if author and self._config.customize else None
        await self._api.call(
            "files.completeUploadExternal",
            files=[{"id": native, "title": file.name}],
            channel_id=channel,
            thread_ts=where.get("thread_ts"),
            initial_comment=comment,
        )
        for _ in range(SHARE_TRIES):
            # It is posted: whatever goes wrong now must not have it posted once more.
            with contextlib.suppress(AdapterError):
                if found := await self._shared(native, channel):
                    return found
            await asyncio.sleep(SHARE_WAIT_S)
        log.info("slack does not say where a file stands")
        return ""

    async def _shared(self, file: str, channel: str) -> str:
        """The message that a file stands in; empty where there is none yet."""
        found = (await self._api.ask("files.info", file=file)).get("file")
        shares = found.get("shares") if isinstance(found, dict) else None
        for kind in shares.values() if isinstance(shares, dict) else ():
            for share in kind.get(channel) or ():
                if TS.fullmatch(str(share.get("ts"))):
                    return str(share["ts"])
        return ""

    # --- afterwards ---

    async def find(self, outbound: Outbound) -> list[NativeId] | None:
        """The posts that a send has made; None where not all are there, and then the next send makes the others."""
        channel = native_room(outbound.room)
        done, texts = await self._marked_posts(channel, outbound)
        if texts is None:
            if outbound.text.plain.strip() or not outbound.files:
                return None
            texts = 0
        for number in range(len(outbound.files)):
            file = await self._memory.marked("upload", outbound.key, str(number))
            if file and ID.fullmatch(file) and (ts := await self._shared(file, channel)):
                done[texts + number] = ts
        if len(done) < texts + len(outbound.files):
            self._steps_of(outbound.key).update(done)
            return None
        return [NativeId(done[step]) for step in sorted(done)]

    async def _marked_posts(self, channel: str, outbound: Outbound) -> tuple[dict[int, str], int | None]:
        """By part, the posts that carry the key; and how many parts there are to be."""
        where = await self._thread(channel, outbound)
        found: dict[int, str] = {}
        texts: int | None = None
        try:
            recent = await self._recent(channel, where.get("thread_ts"))
        except Refused as refused:
            if refused.error not in _NO_THREAD:
                raise
            recent = await self._recent(channel, None)
        for raw in recent:
            metadata = raw.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            mark = metadata.get("event_payload")
            if isinstance(mark, dict) and metadata.get("event_type") == MARKER and mark.get("key") == outbound.key:
                found[int(mark["part"])] = str(raw["ts"])
                texts = int(mark["of"])
        return found, texts

    async def _recent(self, channel: str, root: str | None) -> list[dict[str, Any]]:
        more = {"channel": channel, "limit": SEARCHED, "include_all_metadata": True}
        if root is None:
            return list((await self._api.ask("conversations.history", **more)).get("messages") or ())
        found: list[dict[str, Any]] = []
        cursor = ""
        for _ in range(SEARCHED_PAGES):
            page = await self._api.ask("conversations.replies", ts=root, cursor=cursor or None, **more)
            found += page.get("messages") or ()
            cursor = str((page.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                break
        return found

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> list[NativeId]:
        """Change our posts in their place; files stay as they are."""
        channel = native_room(outbound.room)
        files = int(await self._memory.marked("files", channel, natives[0]) or 0)
        old, kept = list(natives[: len(natives) - files]), list(natives[len(natives) - files :])
        texts = blocks.parts(blocks.outgoing(outbound.text), outbound.max_parts)
        if not texts and not files:
            raise Rejected("There is nothing in it that Slack could show.")
        root = await self._memory.marked("root", channel, natives[0])
        where = {"thread_ts": root} if root else {}
        for native, part in zip(old, texts, strict=False):
            await self._api.call("chat.update", channel=channel, ts=native, **_changed(self._words(part)))
        await self.delete(channel, old[len(texts) :])
        now = old[: len(texts)]
        for part in texts[len(old) :]:
            now.append(NativeId(await self._post(channel, part, outbound, where)))
        await self._note(channel, [*now, *kept], where, files)
        return [*now, *kept]

    async def delete(self, channel: str, natives: Sequence[NativeId]) -> None:
        """Take posts away; what is gone already is no error."""
        for native in natives:
            try:
                await self._api.call("chat.delete", channel=channel, ts=native)
            except Refused as refused:
                if refused.error != "message_not_found":
                    raise


def _inside(where: Json) -> dict[str, Any]:
    """In the thread, and not in the channel as well."""
    return {name: value for name, value in where.items() if name == "thread_ts"}


def _changed(words: dict[str, Any]) -> dict[str, Any]:
    """chat.update knows no ``mrkdwn``."""
    return {name: value for name, value in words.items() if name != "mrkdwn"}
