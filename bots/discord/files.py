"""Files on their way out: read from their origin, and put together into messages as Discord takes them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import IO, Final, cast

from bots.discord.api import Upload
from bots.discord.config import MEBIBYTE
from core.composer import file_line
from core.contract import OutFile, Rejected

FILES_MAX: Final = 10
REQUEST_BYTES: Final = 24 * MEBIBYTE
IN_MEMORY_BYTES: Final = MEBIBYTE


def groups_of(files: Sequence[Upload]) -> Iterator[list[Upload]]:
    """Files in as many messages as they need, in order."""
    group: list[Upload] = []
    total = 0
    for file in files:
        size = file.content.seek(0, 2)
        file.content.seek(0)
        if group and (len(group) == FILES_MAX or total + size > REQUEST_BYTES):
            yield group
            group, total = [], 0
        group.append(file)
        total += size
    if group:
        yield group


async def fetched(files: Sequence[OutFile], limit_bytes: int, stack: AsyncExitStack) -> tuple[list[Upload], list[str]]:
    """The files that can be posted, and a line with a link for each of the others. Raises Retry of the origin."""
    ready: list[Upload] = []
    lines: list[str] = []
    for file in files:
        content = await _content(file, limit_bytes, stack) if file.size_bytes <= limit_bytes else None
        if content is None:
            lines.append(file_line(file))
        else:
            ready.append(Upload(file.name, content, file.mime or "application/octet-stream"))
    return ready, lines


async def _content(file: OutFile, limit_bytes: int, stack: AsyncExitStack) -> IO[bytes] | None:
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
    return cast("IO[bytes]", content)
