"""Files: out by HTTP upload (XEP-0363), in by the addresses that messages carry."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO, TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import Element

import msgspec
import structlog

from bots.xmpp import xml as x
from bots.xmpp.config import XmppConfig
from bots.xmpp.receive import is_web
from bots.xmpp.stream import Refused, Stream, tls_context
from core.contract import AdapterError, OutFile, Rejected, Retry
from core.egress import CHUNK_BYTES, fetch, guarded_session

if TYPE_CHECKING:
    from aiohttp import ClientSession

log = structlog.get_logger()

UPLOAD_S: Final = 60.0
"""A file that takes longer is posted as a link to us."""
MOST_SERVICES: Final = 50
_HEADERS: Final = {"authorization": "Authorization", "cookie": "Cookie", "expires": "Expires"}
"""The headers that a slot may ask for (XEP-0363 section 4)."""


class Service(msgspec.Struct, frozen=True):
    """A part of a server. ``size_bytes``: the largest file it takes; 0: it does not say."""

    jid: str
    features: frozenset[str]
    size_bytes: int = 0


async def services(stream: Stream, domain: str) -> list[Service]:
    """The parts of a server (XEP-0030). Raises AdapterError where it does not answer."""
    answer = await stream.ask("get", domain, x.element(x.DISCO_ITEMS, "query"))
    jids = [item.get("jid", "") for item in answer.iter(f"{{{x.DISCO_ITEMS}}}item") if not item.get("node")]
    found = await asyncio.gather(*(service(stream, jid) for jid in (domain, *jids[:MOST_SERVICES]) if jid))
    return [one for one in found if one is not None]


async def service(stream: Stream, jid: str) -> Service | None:
    """What a part of a server can do; None where it does not say."""
    try:
        answer = await stream.ask("get", jid, x.element(x.DISCO_INFO, "query"))
    except AdapterError:
        return None
    features = frozenset(item.get("var", "") for item in answer.iter(f"{{{x.DISCO_INFO}}}feature"))
    sizes = (
        item.findtext(f"{{{x.DATA}}}value") or ""
        for item in answer.iter(f"{{{x.DATA}}}field")
        if item.get("var") == "max-file-size"
    )
    size = next((int(size) for size in sizes if size.isascii() and size.isdigit()), 0)
    return Service(jid, features, size_bytes=size)


def http_session(config: XmppConfig) -> ClientSession:
    """For addresses that others gave us. Close it."""
    return guarded_session(config.trusted_addresses)


class Uploads:
    """Uploads of one account."""

    def __init__(self, config: XmppConfig) -> None:
        self._config = config
        self._service: Service | None = None

    async def begin(self, stream: Stream) -> None:
        """Find the service, if there is one."""
        self._service = None
        try:
            if self._config.upload:
                self._service = await service(stream, self._config.upload)
            else:
                found = await services(stream, self._config.services_domain)
                self._service = next((one for one in found if x.UPLOAD in one.features), None)
        except AdapterError as error:
            log.info("no upload service is known", error=str(error))

    async def upload(self, stream: Stream, file: OutFile) -> str:
        """The address of the file in its new place; empty where it could not be brought there."""
        try:
            async with asyncio.timeout(UPLOAD_S):
                return await self._upload(stream, file)
        except (AdapterError, OSError, TimeoutError) as error:
            log.info("a file is posted as a link", reason=str(error) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever the origin or the service does, the link is still there
            log.warning("an upload failed", error=repr(error))
        return ""

    async def _upload(self, stream: Stream, file: OutFile) -> str:
        if self._service is None:
            raise Rejected("the server has no upload service")
        limit = self._service.size_bytes
        if file.size_bytes:
            if limit and file.size_bytes > limit:
                raise Rejected(f"the upload service takes {limit} bytes at most")
            return await self._put(stream, self._service, file, file.size_bytes, file.open())
        # A slot is given for an exact size: the file is read first.
        with tempfile.TemporaryFile() as spool:
            size = 0
            async for chunk in file.open():
                size += len(chunk)
                if size > (limit or self._config.max_file_bytes):
                    raise Rejected("the file is too large for the upload service")
                spool.write(chunk)
            spool.seek(0)
            return await self._put(stream, self._service, file, size, _chunks(spool))

    async def _put(self, stream: Stream, service: Service, file: OutFile, size: int, data: AsyncIterator[bytes]) -> str:
        mime = file.mime or "application/octet-stream"
        name = x.sendable(file.name) or "file"
        request = x.element(x.UPLOAD, "request", filename=name, size=str(size), **{"content-type": mime})
        try:
            answer = await stream.ask("get", service.jid, request)
        except Refused as error:
            raise Rejected(f"the upload service refuses the file: {error.reason}") from None
        put, get, headers = _slot(answer)
        headers |= {"Content-Length": str(size), "Content-Type": mime}
        options: dict[str, Any] = {}
        if put.startswith("https:") and (self._config.tls_ca_file or not self._config.tls_verify):
            options["ssl"] = tls_context(self._config)
        async with (
            http_session(self._config) as session,
            session.put(put, data=data, headers=headers, allow_redirects=False, **options) as response,
        ):
            if response.status not in (200, 201, 204):
                raise Retry(5.0, f"the upload service answers {response.status}")
        return get


def _slot(answer: Element) -> tuple[str, str, dict[str, str]]:
    """Where to put the file, where it is to be got, and the headers for putting it."""
    slot = x.child(answer, x.UPLOAD, "slot")
    put = x.child(slot, x.UPLOAD, "put") if slot is not None else None
    get = x.child(slot, x.UPLOAD, "get") if slot is not None else None
    urls = [item.get("url", "") if item is not None else "" for item in (put, get)]
    if put is None or not all(map(is_web, urls)):
        raise Rejected("the upload service gives no addresses that can be used")
    headers = {
        _HEADERS[name]: (item.text or "").replace("\r", "").replace("\n", "")
        for item in put.findall(f"{{{x.UPLOAD}}}header")
        if (name := item.get("name", "").strip().lower()) in _HEADERS
    }
    return urls[0], urls[1], headers


async def _chunks(spool: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := spool.read(CHUNK_BYTES):
        yield chunk


async def opened(config: XmppConfig, url: str) -> AsyncIterator[bytes]:
    """The bytes of a file that a message pointed to. Raises Rejected and Retry."""
    async with http_session(config) as session:
        async for chunk in fetch(session, url, config.max_file_bytes):
            yield chunk
