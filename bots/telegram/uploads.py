"""Files on their way to Telegram: fetched from their origin in chunks, kept on disk when large, sent by their kind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import IO, Any, Final, Literal, NamedTuple

from bots.telegram.api import Upload
from bots.telegram.config import MEBIBYTE
from bots.telegram.text import entities_of, fits
from core.composer import file_line
from core.contract import OutFile, Rejected
from core.model import Text

MediaKind = Literal["photo", "animation", "video", "audio", "document"]
IN_MEMORY_BYTES: Final = MEBIBYTE
PHOTO_LIMIT_BYTES: Final = 10 * MEBIBYTE
CAPTION_LIMIT: Final = 1024
GROUP_MAX: Final = 10
_KINDS: Final[dict[str, MediaKind]] = {
    "image/jpeg": "photo",
    "image/png": "photo",
    "image/webp": "photo",
    "image/gif": "animation",
    "video/mp4": "video",
    "audio/mpeg": "audio",
    "audio/mp4": "audio",
}
_TOGETHER: Final[dict[MediaKind, str]] = {
    "photo": "pictures",
    "video": "pictures",
    "audio": "audio",
    "document": "files",
}
"""Kinds that one album may hold; an animation has none (core.telegram.org/bots/api#sendmediagroup)."""


class Ready(NamedTuple):
    """A file with all its bytes at hand."""

    name: str
    mime: str
    kind: MediaKind
    content: IO[bytes]

    def upload(self) -> Upload:
        """From its beginning."""
        self.content.seek(0)
        return self.name, self.content, self.mime


async def fetch(files: Sequence[OutFile], limit_bytes: int, stack: AsyncExitStack) -> tuple[list[Ready], list[str]]:
    """The files that can be posted, and a line with a link for each of the others. Raises Retry of the origin."""
    ready: list[Ready] = []
    lines: list[str] = []
    for file in files:
        found = await _fetch(file, limit_bytes, stack) if file.size_bytes <= limit_bytes else None
        if found is None:
            lines.append(file_line(file))
        else:
            ready.append(found)
    return ready, lines


async def _fetch(file: OutFile, limit_bytes: int, stack: AsyncExitStack) -> Ready | None:
    content = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))  # noqa: SIM115 - closed by the stack
    total = 0
    try:
        async for chunk in file.open():
            total += len(chunk)
            if total > limit_bytes:
                return None
            content.write(chunk)
    except Rejected:
        # Its own link says best what has become of it.
        return None
    if not total:
        # Telegram takes no empty files.
        return None
    kind = _KINDS.get(file.mime.partition(";")[0].strip().lower(), "document")
    if kind == "photo" and total > PHOTO_LIMIT_BYTES:
        kind = "document"
    return Ready(file.name, file.mime or "application/octet-stream", kind, content)


def groups(files: Sequence[Ready]) -> Iterator[list[Ready]]:
    """Files in albums, in order: neighbours that may stand together, ten at most."""
    group: list[Ready] = []
    for file in files:
        together = _TOGETHER.get(file.kind)
        if group and (together is None or len(group) == GROUP_MAX or _TOGETHER.get(group[0].kind) != together):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def as_documents(group: Sequence[Ready]) -> list[Ready]:
    """The same files as nothing but files, which Telegram does not look into."""
    return [file._replace(kind="document") for file in group]


def request(group: Sequence[Ready], caption: Text | None) -> tuple[str, dict[str, Any], dict[str, Upload]]:
    """(method, parameters, uploads) that post the files, with a caption on the first."""
    words: dict[str, Any] = {"caption": caption.plain, "caption_entities": entities_of(caption)} if caption else {}
    words = {name: value for name, value in words.items() if value}
    if len(group) == 1:
        kind = group[0].kind
        return f"send{kind.capitalize()}", words, {kind: group[0].upload()}
    media = [{"type": file.kind, "media": f"attach://file{place}"} for place, file in enumerate(group)]
    media[0] |= words
    return "sendMediaGroup", {"media": media}, {f"file{place}": file.upload() for place, file in enumerate(group)}


def can_caption(text: Text) -> bool:
    """Is there a text, and does it fit below a file?"""
    return bool(text.plain.strip()) and fits(text, CAPTION_LIMIT)
