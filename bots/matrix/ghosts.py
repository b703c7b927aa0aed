"""Ghosts: users of the homeserver that speak for authors of other platforms, each under its own name and picture.

A ghost is a name and nothing more: it has no connection, and joins a room when its author first speaks there.
"""

from __future__ import annotations

import asyncio
import tempfile
from hashlib import sha256

import structlog

from bots.matrix.client import Refused, at, at_state
from bots.matrix.desk import Desk
from bots.matrix.memory import DAY_S, MONTH_S, Person, Present
from core.contract import AdapterError, Rejected, Retry
from core.model import Author

log = structlog.get_logger()

PICTURE_BYTES = 2 * 1024 * 1024
PICTURE_S = 4.0
"""A message does not wait longer than this for its author's picture."""
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
NO_PICTURE_S = 3600
"""So long after a failure, a picture is not asked for again."""
NAME_CHARS = 200
PLAIN_RETRY_S = 0.05


class Ghosts:
    """The ghosts of one application service."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def user_of(self, author: Author) -> str:
        """The ghost of an author. By a digest: ids of other platforms have characters that Matrix has not."""
        config = self._desk.config
        digest = sha256(author.id.encode("utf-8", "replace")).hexdigest()[:20]
        return f"@{config.ghost_prefix}{digest}:{config.server_name}"

    async def ready(self, room: str, author: Author) -> str:
        """The author's ghost, in the room and under the author's name and picture. Raises any AdapterError."""
        desk, memory = self._desk, self._desk.memory
        ghost = self.user_of(author)
        shown = Person(author.name[:NAME_CHARS], await self._picture(author.avatar_url))
        present = await memory.present(room, ghost)
        if present is None:
            profile = await self._registered(ghost, shown)
            await self._join(room, ghost)
            present = Present(profile.name, profile.mxc)
        now_ms = desk.services.now_ms()
        if (present.name, present.mxc) != (shown.name, shown.mxc):
            member = {"membership": "join", "displayname": shown.name}
            if shown.mxc:
                member["avatar_url"] = shown.mxc
            await desk.client.call("PUT", at_state(room, "m.room.member", ghost), member, user=ghost)
        elif now_ms - present.at_ms < DAY_S * 1000:
            return ghost
        await memory.save_present(room, ghost, Present(shown.name, shown.mxc, now_ms))
        return ghost

    async def _registered(self, ghost: str, shown: Person) -> Person:
        """Register the ghost if it is new, with a profile to join rooms with; the profile that it has."""
        known = await self._desk.memory.profile(ghost)
        if known is not None:
            return known
        await register(self._desk, ghost)
        await set_profile(self._desk, ghost, shown)
        await self._desk.memory.save_profile(ghost, shown)
        return shown

    async def _join(self, room: str, ghost: str) -> None:
        client = self._desk.client
        try:
            await client.call("POST", at("rooms", room, "join"), {}, user=ghost)
            return
        except Refused as error:
            if error.status not in (403, 404):
                raise
        try:
            await client.call("POST", at("rooms", room, "invite"), {"user_id": ghost})
            await client.call("POST", at("rooms", room, "join"), {}, user=ghost)
        except Refused:
            await self._not_let_in(room, ghost)

    async def _not_let_in(self, room: str, ghost: str) -> None:
        """Say that somebody is banned; else have the room get its posts from the bot, with names in the text."""
        desk = self._desk
        try:
            member = await desk.client.get(at_state(room, "m.room.member", ghost))
        except Refused:
            member = {}
        if member.get("membership") == "ban":
            raise Rejected("This person is banned from the Matrix room by its moderators.")
        known = desk.memory.rooms.get(room)
        if known is None or not known.joined:
            raise Rejected("The bot is no longer in the Matrix room. Somebody in it can invite it again.")
        known.ghosts = False
        await desk.memory.save_rooms([room])
        log.info("matrix: ghosts cannot join", account=desk.account, room=room)
        raise Retry(PLAIN_RETRY_S, "the room lets no ghosts in: the bot posts there itself")

    async def _picture(self, url: str) -> str:
        """The ``mxc://`` address of a picture; empty where there is none to be had. Each is uploaded once."""
        if not url.startswith(("https://", "http://")):
            return ""
        memory = self._desk.memory
        known = await memory.picture(url)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(PICTURE_S):
                mxc = await self._carry(url)
        except (AdapterError, TimeoutError) as error:
            log.info("matrix: no picture", account=self._desk.account, error=str(error) or "too slow")
            mxc = ""
        await memory.save_picture(url, mxc, 3 * MONTH_S if mxc else NO_PICTURE_S)
        return mxc

    async def _carry(self, url: str) -> str:
        from core.egress import CHUNK_BYTES, guarded_session, opened

        with tempfile.SpooledTemporaryFile(max_size=PICTURE_BYTES) as file:
            trusted = self._desk.config.trusted_addresses
            async with guarded_session(trusted) as session, opened(session, url) as response:
                if response.content_type not in PICTURES:
                    raise Rejected("it is no picture")
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    file.write(chunk)
                    if file.tell() > PICTURE_BYTES:
                        raise Rejected("the picture is too large")
                mime = response.content_type
            return await self._desk.client.upload(file, file.tell(), "", mime)

    # --- going away

    async def leave(self, room: str) -> None:
        """All ghosts leave the room."""
        for ghost in await self._desk.memory.all_present(room):
            await self.go(room, ghost)

    async def go(self, room: str, ghost: str) -> None:
        """One ghost leaves the room; one that is not there is no error."""
        await self._desk.memory.forget_present(room, ghost)
        try:
            await self._desk.client.call("POST", at("rooms", room, "leave"), {}, user=ghost)
        except Refused as error:
            log.debug("matrix: ghost was not there", account=self._desk.account, error=str(error))

    async def sweep(self) -> None:
        """Ghosts that said nothing for ``ghost_idle_days`` leave; they come back when they speak."""
        desk = self._desk
        idle_ms = desk.config.ghost_idle_days * DAY_S * 1000
        if not idle_ms:
            return
        for room in list(desk.memory.rooms):
            for ghost, present in (await desk.memory.all_present(room)).items():
                # The time in the store may be a day old (see ready).
                if desk.services.now_ms() - present.at_ms > idle_ms + DAY_S * 1000:
                    await self.go(room, ghost)


async def register(desk: Desk, user: str) -> None:
    """Make a user of ours known to the homeserver. One that is known already is no error.

    Application Service API, "Server admin style permissions".
    """
    localpart = user[1:].partition(":")[0]
    body = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True}
    try:
        await desk.client.call("POST", at("register"), body)
    except Refused as error:
        if error.errcode != "M_USER_IN_USE":
            raise


async def set_profile(desk: Desk, user: str, shown: Person) -> None:
    """Set a user's name and picture for rooms that it will join."""
    await desk.client.call("PUT", at("profile", user, "displayname"), {"displayname": shown.name}, user=user)
    if shown.mxc:
        await desk.client.call("PUT", at("profile", user, "avatar_url"), {"avatar_url": shown.mxc}, user=user)
