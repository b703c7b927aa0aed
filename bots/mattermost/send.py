"""Posting, changing and deleting posts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from bots.mattermost.api import Api, Refused, is_id
from bots.mattermost.memory import People, Threads
from bots.mattermost.text import markdown, names_in, outgoing, parts
from core.composer import file_line
from core.contract import Outbound, Rejected, Retry
from core.model import Author, NativeId, RoomId, Text, native_room
from core.text.ops import concat, plain

MARK: Final = "bridgebot"
"""Property of our posts: the key of the post, and which part of it this is."""
FILES_MAX: Final = 10
REMEMBERED: Final = 1_000
RECENT: Final = 200
LAST_WITH_NAMES: Final = 11
"""Later versions take the override_* properties from webhooks only (mattermost/mattermost pull 37872)."""
_ROOT_GONE: Final = ("api.post.create_post.root_id.app_error", "api.post.create_post.channel_root_id.app_error")
_NO_FILES: Final = (403, 413, 501)


class Server(msgspec.Struct, frozen=True):
    """What the server's client configuration says."""

    version: str = ""
    names: bool = False
    """We may post under other names."""
    icons: bool = False
    shows_names: bool = False
    """It shows the names that webhooks post under."""
    text_limit: int = 16_383
    files: bool = True
    file_limit_bytes: int = 100 * 1024 * 1024
    display: str = "username"


def server_of(config: Mapping[str, Any]) -> Server:
    """From ``GET config/client?format=old``, whose values are all words."""
    version = str(config.get("Version") or "")
    major = version.partition(".")[0]
    overrides = str(config.get("EnablePostUsernameOverride")) == "true"
    names = overrides and major.isdigit() and int(major) <= LAST_WITH_NAMES
    return Server(
        version=version,
        names=names,
        icons=names and str(config.get("EnablePostIconOverride")) == "true",
        shows_names=overrides,
        text_limit=max(_number(config.get("MaxPostSize"), 16_383), 100),
        files=str(config.get("EnableFileAttachments", "true")) == "true",
        file_limit_bytes=_number(config.get("MaxFileSize"), 100 * 1024 * 1024),
        display=str(config.get("TeammateNameDisplay") or "username"),
    )


def _number(raw: Any, default: int) -> int:
    return int(raw) if str(raw).isdigit() and int(raw) else default


class Sender:
    """Posts of one account."""

    def __init__(self, api: Api, people: People, threads: Threads, *, mentions: bool) -> None:
        self._api = api
        self._people = people
        self._threads = threads
        self._mentions = mentions
        self._done: OrderedDict[str, dict[int, NativeId]] = OrderedDict()
        """By the key of a post that is not complete: the parts that are there."""
        self.me = ""
        self.server = Server()

    async def send(self, outbound: Outbound) -> list[NativeId]:
        """Post it all; another try with the same key goes on after the last part that is there."""
        done = self._done.setdefault(outbound.key, {})
        self._done.move_to_end(outbound.key)
        while len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        files, lines = ([], []) if 0 in done else await self._upload(outbound)
        texts = await self._texts(outbound, lines)
        if not texts and not files and not done:
            raise Rejected("There is nothing in it that Mattermost could show.")
        root = await self._root(outbound)
        for place in range(max(len(texts), 1)):
            if place not in done:
                message = markdown(texts[place]) if texts else ""
                done[place] = await self._post(outbound, message, place, root, files if place == 0 else [])
        self._done.pop(outbound.key, None)
        return [done[place] for place in sorted(done)]

    async def _texts(self, outbound: Outbound, lines: Sequence[str] = ()) -> list[Text]:
        text = outbound.text
        if lines:
            starts = text.plain and not text.plain.endswith(": ")
            text = concat(text, plain(("\n" if starts else "") + "\n".join(lines)))
        names = names_in(text) if self._mentions else set()
        return parts(outgoing(text, await self._people.among(names)), self.server.text_limit, outbound.max_parts)

    async def _upload(self, outbound: Outbound) -> tuple[list[str], list[str]]:
        """Ids of the files that the server took, and a line with a link for each of the others."""
        ids: list[str] = []
        lines: list[str] = []
        limit_bytes = self.server.file_limit_bytes
        for file in outbound.files:
            try:
                if len(ids) == FILES_MAX or file.size_bytes > limit_bytes or not self.server.files:
                    raise Rejected("too many or too large")
                ids.append(await self._api.upload(native_room(outbound.room), file, limit_bytes))
            except Refused as refused:
                if refused.code not in _NO_FILES:
                    raise
                lines.append(file_line(file))
            except Rejected:
                # Its own link says best what has become of it.
                lines.append(file_line(file))
        return ids, lines

    async def _root(self, outbound: Outbound) -> str:
        native = outbound.thread or outbound.reply_to
        return await self._threads.root(native) if native else ""

    async def _post(self, outbound: Outbound, message: str, place: int, root: str, files: Sequence[str]) -> NativeId:
        named = self._named(outbound.author)
        body: dict[str, Any] = {
            "channel_id": native_room(outbound.room),
            "message": message,
            "root_id": root,
            "file_ids": list(files),
            "props": {MARK: f"{outbound.key}/{place}", **named},
            "pending_post_id": f"{self.me}:{outbound.key}/{place}{'' if named else '/plain'}",
        }
        try:
            made = await self._api.call("POST", "posts", body)
        except Refused as refused:
            if root and refused.id in _ROOT_GONE:
                return await self._post(outbound, message, place, "", files)
            if named and refused.code == 400 and refused.id == "api.context.invalid_body_param.app_error":
                raise self._without_names() from None
            raise
        post = NativeId(str(made["id"]))
        if named and "override_username" not in (made.get("props") or {}):
            await self._delete(post)
            raise self._without_names()
        self._threads.note(post, root)
        return post

    def _named(self, author: Author | None) -> dict[str, str]:
        if author is None or not self.server.names:
            return {}
        named = {"from_webhook": "true", "override_username": author.name}
        if self.server.icons and author.avatar_url.startswith(("https://", "http://")):
            named["override_icon_url"] = author.avatar_url
        return named

    def _without_names(self) -> Retry:
        """The server does not let us after all: the next try has the name in its text."""
        self.server = msgspec.structs.replace(self.server, names=False, icons=False)
        return Retry(0.1, "Mattermost does not let the bot post under other names")

    async def find(self, outbound: Outbound) -> list[NativeId] | None:
        """The parts of a post among the newest posts of its channel; None where it is not complete."""
        path = f"channels/{native_room(outbound.room)}/posts"
        listed = await self._api.call("GET", path, per_page=RECENT)
        found: dict[int, NativeId] = {}
        for post in (listed.get("posts") or {}).values():
            key, _, place = str((post.get("props") or {}).get(MARK) or "").rpartition("/")
            if key == outbound.key and place.isdigit() and post.get("user_id") == self.me and not post.get("delete_at"):
                found[int(place)] = NativeId(str(post["id"]))
        if not found:
            return None
        self._done[outbound.key] = found
        wanted = max(len(await self._texts(outbound)), 1)
        return [found[place] for place in sorted(found)] if len(found) >= wanted else None

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> list[NativeId]:
        """Change our posts in their place; files stay as they are."""
        texts = await self._texts(outbound)
        if not texts:
            raise Rejected("There is nothing in it that Mattermost could show.")
        for native, text in zip(natives, texts, strict=False):
            await self._api.call("PUT", f"posts/{_checked(native)}/patch", {"message": markdown(text)})
        await self.delete(natives[len(texts) :])
        kept = list(natives[: len(texts)])
        root = await self._threads.root(kept[0]) if len(texts) > len(kept) else ""
        root = root if root != kept[0] else ""
        for place in range(len(kept), len(texts)):
            kept.append(await self._post(outbound, markdown(texts[place]), place, root, []))
        return kept

    async def delete(self, natives: Sequence[NativeId]) -> None:
        """Take posts away; what is gone already is no error."""
        for native in natives:
            await self._delete(native)

    async def _delete(self, native: NativeId) -> None:
        try:
            await self._api.call("DELETE", f"posts/{_checked(native)}")
        except Refused as refused:
            if refused.code != 404 and not await self._is_gone(native):
                raise

    async def _is_gone(self, native: NativeId) -> bool:
        """The server says "no permission" of a post that is not there."""
        try:
            await self._api.call("GET", f"posts/{native}")
        except Refused as refused:
            return refused.code in (403, 404)
        return False


def _checked(native: str) -> str:
    if not is_id(native):
        raise Rejected("The message is no longer there on Mattermost.")
    return native


def channel_of(room: RoomId) -> str:
    """The channel of a room. Raises Rejected for what is no id of Mattermost's."""
    channel = native_room(room)
    if not is_id(channel):
        raise Rejected(f"Mattermost has no channel {channel!r}.")
    return channel
