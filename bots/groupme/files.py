"""Files both ways: pictures and videos by their addresses on GroupMe's hosts, others by the file service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import structlog

from bots.groupme.api import Api
from bots.groupme.config import GroupMeConfig
from core.contract import OutFile, Rejected, Retry, Uncertain
from core.model import Text
from core.text.ops import concat

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger()

LIMIT_BYTES = 50 * 1000 * 1000 - 1
"""The file service takes less than 50 MB (File Management)."""
PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def allowed(config: GroupMeConfig, url: str) -> bool:
    """May this address out of a message be fetched? Encrypted, unless the account's own service is not."""
    try:
        parts = urlsplit(url)
        netloc = parts.netloc.lower()
    except ValueError:
        return False
    schemes = ("https",) if config.image_url.startswith("https") else ("https", "http")
    return parts.scheme in schemes and netloc in config.media_hosts


def session_of(config: GroupMeConfig) -> aiohttp.ClientSession:
    """A session for what messages point to."""
    from core.egress import guarded_session

    return guarded_session(config.media_addresses, trust_env=False)


async def opened(
    config: GroupMeConfig, media: aiohttp.ClientSession, api_session: aiohttp.ClientSession, ref: str
) -> AsyncIterator[bytes]:
    """Stream a file of a message. Raises Rejected and Retry."""
    from core.egress import fetch

    kind, _, rest = ref.partition(" ")
    if kind == "url" and allowed(config, rest):
        # A redirect would lead away from the hosts that were allowed.
        async for chunk in fetch(media, rest, LIMIT_BYTES, allow_redirects=False):
            yield chunk
        return
    group, _, file = rest.partition(" ")
    if kind == "file" and group and file and config.token:
        url = f"{config.file_url}/{quote(group, safe='')}/files/{quote(file, safe='')}"
        headers = {"X-Access-Token": config.token}
        async for chunk in fetch(api_session, url, LIMIT_BYTES, headers=headers, allow_redirects=False):
            yield chunk
        return
    raise Rejected("The file is no longer there, or is not at GroupMe.")


async def uploaded(
    api: Api, group: str, files: Sequence[OutFile], text: Text, *, only_pictures: bool = False
) -> tuple[list[dict[str, Any]], Text]:
    """Attachments for ``files``, and ``text`` with a link for each that GroupMe does not take. Raises AdapterErrors,
    none of them Uncertain: nothing was posted."""
    attachments: list[dict[str, Any]] = []
    for file in files:
        try:
            attachment = await _upload(api, group, file, only_pictures=only_pictures)
        except Uncertain as error:
            raise Retry(2.0, str(error)) from None
        except Rejected as error:
            log.info("groupme does not take a file", reason=error.reason)
            attachment = None
        if attachment:
            attachments.append(attachment)
        else:
            text = with_link(text, file)
    return attachments, text


async def _upload(api: Api, group: str, file: OutFile, *, only_pictures: bool) -> dict[str, Any] | None:
    if file.size_bytes > LIMIT_BYTES:
        return None
    if file.mime in PICTURES:
        return {"type": "image", "url": await api.upload_picture(file.open(), file.mime, file.size_bytes)}
    if only_pictures:
        return None
    return {"type": "file", "file_id": await api.upload_file(group, file.open(), file.name, file.mime)}


def with_link(text: Text, file: OutFile) -> Text:
    """``text`` and a line with the link to ``file``."""
    from core.composer import file_line

    between = "\n" if text.plain and not text.plain.endswith(("\n", ": ")) else ""
    return concat(text, Text(between + file_line(file)))
