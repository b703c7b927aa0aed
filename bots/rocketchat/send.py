"""Posts, edits, deletions, reactions and files of one account, by REST."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import structlog

from bots.rocketchat import text as dialect
from bots.rocketchat.api import Api, NoImpersonation, NotThere, new_session
from bots.rocketchat.config import RocketChatConfig
from bots.rocketchat.memory import Memory, Room
from core.contract import (
    AuthLost,
    Capabilities,
    Offline,
    Outbound,
    OutFile,
    Receipt,
    Rejected,
    Retry,
    Services,
    Uncertain,
)
from core.model import AccountId, Author, NativeId, RoomId, Text, native_room
from core.text.ops import concat

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger()

OURS = "bb"
"""Begins the ids of our messages. Only those of our own user count."""
TEXT_LIMIT = 5_000
FILE_LIMIT_BYTES = 104_857_600
"""The server's own defaults (Message_MaxAllowedSize, FileUpload_MaxFileSize)."""
IMPERSONATE, UNLIMITED = "message-impersonate", "api-bypass-rate-limit"
LOOKED_BACK = 100
PATHS = {"c": "channel", "p": "group", "d": "direct"}


class Speaker:
    """The speaking half of an account. The session is made when it is first needed."""

    def __init__(self, account: AccountId, config: RocketChatConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._memory = Memory(services)
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._made: Api | None = None
        self._me = config.user_id
        self._username = config.username
        self._rooms: dict[str, Room] = {}
        self._deleted: dict[str, None] = {}
        """Newest messages that we took away ourselves."""
        self._auth_lost = ""
        self._site = config.base
        self._shown_as = config.username
        self._caps = capabilities(frozenset({UNLIMITED}), {})

    @property
    def _session(self) -> aiohttp.ClientSession:
        if "api" not in self._sessions:
            self._sessions["api"] = new_session()
        return self._sessions["api"]

    @property
    def _api(self) -> Api:
        if self._made is None:
            self._made = Api(self._config, self._session, self._services.now_ms)
        return self._made

    @property
    def _sites(self) -> frozenset[str]:
        return frozenset(urlsplit(site).netloc.lower() for site in (self._config.base, self._site))

    def capabilities(self, room: RoomId) -> Capabilities:
        """The same in all rooms; by the account's permissions and the server's settings."""
        return self._caps

    async def _learn(self) -> None:
        """Who we are, what we may, what the server allows."""
        me, settings = await self._api.me(), await self._api.settings()
        self._me, self._username = str(me.get("_id") or self._me), str(me.get("username") or self._username)
        self._shown_as = str(me.get("name") or self._username) if settings.get("UI_Use_Real_Name") else self._username
        site = settings.get("Site_Url")
        self._site = site.rstrip("/") if isinstance(site, str) and site.startswith("http") else self._config.base
        self._can(await self._api.permissions(me.get("roles") or ()), settings)

    def _can(self, permissions: frozenset[str], settings: dict[str, Any]) -> None:
        caps = capabilities(permissions, settings)
        if caps != self._caps:
            self._caps = caps

    def _usable(self) -> None:
        if self._auth_lost:
            raise AuthLost(self._auth_lost)

    # --- posts

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it: text in parts with ids of our own, then its files, the first with the text if that is one part."""
        self._usable()
        quoted = await self._quote(outbound)
        texts = self._texts(outbound.text, outbound.max_parts, quoted)
        natives: list[NativeId] = []
        caption = texts.pop() if outbound.files and len(texts) == 1 else ""
        for number, msg in enumerate(texts):
            natives.append(await self._post(outbound, number, msg))
        for number, file in enumerate(outbound.files):
            natives.append(await self._file(outbound, number, file, caption))
            caption = ""
        return Receipt(tuple(natives))

    def _texts(self, text: Text, max_parts: int, quoted: str) -> list[str]:
        found = dialect.parts(text, self._caps.text_limit - len(quoted), max_parts, self._site)
        return [quoted + found[0], *found[1:]] if found else []

    async def _quote(self, outbound: Outbound) -> str:
        """The link in front of an answer, of which the server makes a quote (BeforeSaveJumpToMessage)."""
        if not outbound.reply_to:
            return ""
        rid = native_room(outbound.room)
        room = (await self._known()).get(rid, Room("d", rid))
        return f"[ ]({self._site}/{PATHS[room.kind]}/{room.path or rid}?msg={quote(outbound.reply_to, safe='')})\n"

    async def _known(self) -> dict[str, Room]:
        if not self._rooms:
            self._rooms = await self._memory.rooms()
        return self._rooms

    def _own_id(self, outbound: Outbound, part: str) -> str:
        named = f"{self.account}\n{native_room(outbound.room)}\n{outbound.key}\n{part}"
        return OURS + hashlib.sha256(named.encode()).hexdigest()[:30]

    def _look(self, outbound: Outbound) -> dict[str, str]:
        """In whose name and where: fields of the message."""
        found: dict[str, str] = {"tmid": outbound.thread} if outbound.thread else {}
        author = outbound.author
        if author is not None and self._caps.names == "full":
            found["alias"] = dialect.unmarked(author.name)
            if author.avatar_url.startswith(("https://", "http://")):
                found["avatar"] = author.avatar_url
        return found

    async def _post(self, outbound: Outbound, part: int | str, msg: str) -> NativeId:
        native, rid = self._own_id(outbound, str(part)), native_room(outbound.room)
        message = {"_id": native, "rid": rid, "msg": msg, **self._look(outbound)}
        try:
            if await self._api.send(message) or await self._is_there(rid, native):
                return NativeId(native)
        except NoImpersonation:
            raise self._no_names() from None
        except Rejected:
            # The server stumbles over an id that is there already: then it was us, in an earlier try.
            if await self._is_there(rid, native):
                return NativeId(native)
            raise
        raise Rejected("The Rocket.Chat server dropped the message: one of its apps may not let it pass.")

    async def _is_there(self, rid: str, native: str) -> bool:
        try:
            found = await self._api.message(native)
        except Rejected:
            return False
        return found.get("rid") == rid and (found.get("u") or {}).get("_id") == (await self._api.login())[0]

    def _no_names(self) -> Retry:
        """The permission was taken away: from now on names stand in the texts."""
        from msgspec.structs import replace

        self._caps = replace(self._caps, names="fallback", avatars="drop")
        return Retry(0.2, "the account may no longer post under other names")

    # --- changes

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change the parts in place, take away what is too much, post what is missing. Files stay as they are."""
        self._usable()
        rid = native_room(outbound.room)
        old = [native for native in natives if native.startswith(OURS)] or list(natives[:1])
        kept = [native for native in natives if native not in old]
        quoted = dialect.quoted((await self._api.message(old[0])).get("msg") or "")
        texts = self._texts(outbound.text, outbound.max_parts, quoted)
        if not texts:
            return Receipt(tuple(natives))
        for native, msg in zip(old, texts, strict=False):
            await self._api.update(rid, native, msg)
        await self.delete(outbound.room, old[len(texts) :])
        for number in range(len(old), len(texts)):
            old.append(await self._post(outbound, number, texts[number]))
        return Receipt((*old[: len(texts)], *kept))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take our posts away; what is gone is no error."""
        self._usable()
        for native in natives:
            self._deleted[native] = None
            if len(self._deleted) > LOOKED_BACK:
                self._deleted.pop(next(iter(self._deleted)))
            with contextlib.suppress(NotThere):
                await self._api.delete(native_room(room), native)

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """One reaction of ours stands for all who want it elsewhere. What the server has no name for is said."""
        self._usable()
        named = dialect.names(emoji)
        wanted = await self._memory.wish(native, named[0] if named else emoji, author.id, added=added)
        for name in named:
            try:
                await self._api.react(native, name, wanted)
            except Rejected as error:
                if "emoji" not in error.reason:
                    raise
            else:
                return
        words = f"({author.name} {'reacted' if added else 'took back'} {emoji})"
        key = hashlib.sha256(f"{native}\n{author.id}\n{emoji}\n{added}".encode()).hexdigest()
        await self.send(Outbound(room, key, Text(words), reply_to=native))

    # --- files

    async def _file(self, outbound: Outbound, number: int, file: OutFile, caption: str) -> NativeId:
        """Post a file; a line with a link to it where the server does not take it."""
        name = self._own_id(outbound, f"file {number}")
        fields = {"msg": caption, **self._look(outbound)} if caption else self._look(outbound)
        try:
            if file.size_bytes > (self._caps.file_limit_bytes or FILE_LIMIT_BYTES):
                raise Rejected("too large")
            return NativeId(await self._uploaded(native_room(outbound.room), name, file, fields))
        except NoImpersonation:
            raise self._no_names() from None
        except Rejected as error:
            log.info("rocketchat does not take a file", account=self.account, reason=error.reason)
        from core.composer import file_line

        line = Text(file_line(file))
        text = concat(outbound.text, Text("\n"), line) if caption and outbound.text.plain else line
        quoted = await self._quote(outbound) if caption else ""
        return await self._post(outbound, f"link {number}", self._texts(text, 1, quoted)[0])

    async def _uploaded(self, rid: str, name: str, file: OutFile, fields: dict[str, str]) -> str:
        room = quote(rid, safe="")
        if uploaded := await self._memory.uploaded(name):
            for message in await self._newest(rid):
                if (message.get("file") or {}).get("_id") == uploaded:
                    return str(message["_id"])
        else:
            try:
                answer = await self._api.upload(f"rooms.media/{room}", file.open(), file.name, file.mime)
            except Uncertain as error:
                raise Retry(2.0, str(error)) from None  # nothing is posted before it is confirmed
            except NotThere:
                answer = await self._api.upload(f"rooms.upload/{room}", file.open(), file.name, file.mime, **fields)
                return str((answer.get("message") or {}).get("_id") or "")
            uploaded = str((answer.get("file") or {}).get("_id") or "")
            await self._memory.keep_upload(name, uploaded)
        return await self._api.confirm(rid, uploaded, fields)

    async def _newest(self, rid: str) -> list[dict[str, Any]]:
        room = (await self._known()).get(rid)
        if room is None:
            raise Offline(1.0, "the rooms are not known yet")
        return await self._api.history(room.kind, rid, "1970-01-01T00:00:00.000Z", 0)


def capabilities(permissions: frozenset[str], settings: dict[str, Any]) -> Capabilities:
    """What rooms can show to an account with ``permissions`` on a server with these public ``settings``."""
    limit, file_limit = settings.get("Message_MaxAllowedSize"), settings.get("FileUpload_MaxFileSize")
    names = IMPERSONATE in permissions
    free = UNLIMITED in permissions
    return Capabilities(
        edit="full",
        delete="full",
        reply="full",
        thread="full",
        reaction="partial",
        file="fallback" if settings.get("FileUpload_Enabled") is False else "full",
        typing="partial",
        names="full" if names else "fallback",
        avatars="full" if names else "drop",
        entities=dialect.SHOWS,
        text_limit=limit if type(limit) is int and limit >= 200 else TEXT_LIMIT,
        text_unit="utf16",
        file_limit_bytes=file_limit if type(file_limit) is int and file_limit > 0 else FILE_LIMIT_BYTES,
        # Ten calls of one kind a minute is what the server allows those without the permission.
        account_rate_per_s=0.0 if free else 10 / 60,
        account_rate_burst=1 if free else 8,
        bold_names=True,
        idempotent=True,
    )
