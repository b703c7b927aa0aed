"""Posting, changing and deleting posts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
import structlog

from bots.telegram import uploads
from bots.telegram.api import Api, Refused
from bots.telegram.config import TelegramConfig
from bots.telegram.memory import Marks
from bots.telegram.text import entities_of, outgoing, parts
from core.contract import Outbound, Rejected
from core.model import NativeId, Text
from core.text.ops import concat, plain

log = structlog.get_logger()

TEXT_LIMIT: Final = 4096
DELETE_MAX: Final = 100
REMEMBERED: Final = 1_000
_BAD_MEDIA: Final = ("photo", "image", "video", "animation", "audio", "media", "wrong file", "wrong type")
_NO_TEXT: Final = "no text in the message to edit"
_UNCHANGED: Final = "message is not modified"
_GONE: Final = ("message to delete not found", "message_id_invalid", "message identifier is not specified")


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """What the posts of a message with files are: so many texts at first, then files."""

    texts: int
    has_caption: bool


class Where(msgspec.Struct, frozen=True):
    """A chat, and the topic in it."""

    chat_id: int
    thread_id: int | None = None

    def params(self) -> dict[str, Any]:
        """As parameters of a method that posts."""
        return {"chat_id": self.chat_id, "message_thread_id": self.thread_id}


def where(native: str) -> Where:
    """The target that a native room id stands for. Raises Rejected for what is no id of Telegram's."""
    chat, _, thread = native.partition(":")
    try:
        return Where(int(chat), int(thread) if thread else None)
    except ValueError:
        raise Rejected(f"Telegram has no chat {native!r}.") from None


class Sender:
    """Posts of one account."""

    def __init__(self, api: Api, config: TelegramConfig, marks: Marks) -> None:
        self._api = api
        self._config = config
        self._marks = marks
        self._done: OrderedDict[str, list[list[NativeId]]] = OrderedDict()
        """By the key of a post that is not complete: the natives of each step that is done."""

    async def send(self, to: Where, outbound: Outbound) -> list[NativeId]:
        """Post it all; another try with the same key goes on after the last step that was done."""
        done = self._done.setdefault(outbound.key, [])
        self._done.move_to_end(outbound.key)
        while len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        async with AsyncExitStack() as stack:
            files, lines = await uploads.fetch(outbound.files, self._config.upload_limit_bytes, stack)
            await self._post(to, outbound, files, lines, done)
        natives = [native for step in done for native in step]
        if files and natives:
            await self._note_shape(to, natives, len(files))
        self._done.pop(outbound.key, None)
        return natives

    async def _post(
        self, to: Where, outbound: Outbound, files: list[uploads.Ready], lines: list[str], done: list[list[NativeId]]
    ) -> None:
        text = outbound.text
        if lines:
            text = concat(
                text, plain(("\n" if text.plain and not text.plain.endswith(": ") else "") + "\n".join(lines))
            )
        text = self._outgoing(text, relayed=outbound.author is not None)
        caption = text if files and uploads.can_caption(text) else None
        texts = [] if caption else parts(text, TEXT_LIMIT, outbound.max_parts)
        groups = list(uploads.groups(files))
        if not texts and not groups:
            raise Rejected("There is nothing in it that Telegram could show.")
        reply = outbound.reply_to
        for step in range(len(done), len(texts) + len(groups)):
            extra = to.params() | ({"reply_parameters": _reply(reply)} if reply and step == 0 else {})
            if step < len(texts):
                made = [await self._text(texts[step], extra)]
            else:
                first = step == len(texts)
                made = await self._files(groups[step - len(texts)], caption if first else None, extra)
            done.append([NativeId(str(message["message_id"])) for message in made])

    def _outgoing(self, text: Text, *, relayed: bool) -> Text:
        return outgoing(text, mentions=self._config.mentions, relayed=relayed)

    async def _text(self, text: Text, extra: dict[str, Any]) -> Any:
        return await self._api.call("sendMessage", text=text.plain, entities=entities_of(text), **extra)

    async def _files(self, group: list[uploads.Ready], caption: Text | None, extra: dict[str, Any]) -> list[Any]:
        method, params, content = uploads.request(group, caption)
        try:
            made = await self._api.call(method, uploads=content, **params, **extra)
        except Refused as refused:
            plain_files = all(file.kind == "document" for file in group)
            if plain_files or not any(word in refused.description for word in _BAD_MEDIA):
                raise
            return await self._files(uploads.as_documents(group), caption, extra)
        return made if isinstance(made, list) else [made]

    async def _note_shape(self, to: Where, natives: list[NativeId], files: int) -> None:
        texts = len(natives) - files
        shape = Shape(texts, has_caption=texts == 0)
        await self._marks.note("shape", str(to.chat_id), natives[0], msgspec.json.encode(shape).decode())

    async def edit(self, to: Where, natives: Sequence[NativeId], outbound: Outbound) -> list[NativeId]:
        """Change our posts in their place; files stay as they are."""
        raw = await self._marks.find("shape", str(to.chat_id), natives[0])
        shape = msgspec.json.decode(raw, type=Shape) if raw else Shape(len(natives), has_caption=False)
        text = self._outgoing(outbound.text, relayed=outbound.author is not None)
        if shape.has_caption:
            caption = parts(text, uploads.CAPTION_LIMIT, 1)
            await self._edit(to, natives[0], caption[0] if caption else Text(), "Caption")
            return list(natives)
        found = parts(text, TEXT_LIMIT, outbound.max_parts)
        if not found:
            raise Rejected("There is nothing in it that Telegram could show.")
        old, files = list(natives[: shape.texts]), list(natives[shape.texts :])
        for native, part in zip(old, found, strict=False):
            await self._edit(to, native, part, "Text")
        await self.delete(to, old[len(found) :])
        kept = old[: len(found)]
        for part in found[len(kept) :]:
            made = await self._text(part, to.params())
            kept.append(NativeId(str(made["message_id"])))
        if files and len(kept) != shape.texts:
            changed = Shape(len(kept), has_caption=False)
            await self._marks.note("shape", str(to.chat_id), kept[0], msgspec.json.encode(changed).decode())
        return [*kept, *files]

    async def _edit(self, to: Where, native: NativeId, text: Text, what: str) -> None:
        words: dict[str, Any] = (
            {"text": text.plain, "entities": entities_of(text)}
            if what == "Text"
            else {"caption": text.plain, "caption_entities": entities_of(text)}
        )
        try:
            await self._api.call(f"editMessage{what}", chat_id=to.chat_id, message_id=int(native), **words)
        except Refused as refused:
            if _NO_TEXT in refused.description and what == "Text":
                caption = parts(text, uploads.CAPTION_LIMIT, 1)[0]
                await self._edit(to, native, caption, "Caption")
            elif _UNCHANGED not in refused.description:
                raise

    async def delete(self, to: Where, natives: Sequence[NativeId]) -> None:
        """Take posts away; what is gone already is no error."""
        for start in range(0, len(natives), DELETE_MAX):
            numbers = [int(native) for native in natives[start : start + DELETE_MAX]]
            try:
                await self._api.call("deleteMessages", chat_id=to.chat_id, message_ids=numbers)
            except Refused as refused:
                if not any(gone in refused.description for gone in _GONE):
                    raise


def _reply(native: NativeId) -> dict[str, Any]:
    return {"message_id": int(native), "allow_sending_without_reply": True}
