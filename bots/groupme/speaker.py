"""Posting as a user: new messages, edits, deletions, reactions."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from bots.groupme import text as dialect
from bots.groupme.api import Conflict, NotThere
from bots.groupme.files import uploaded
from bots.groupme.payload import id_of
from bots.groupme.shared import GroupMe
from core.contract import AuthLost, Outbound, Receipt, Rejected, Retry, Uncertain
from core.model import AccountId, Author, NativeId, RoomId, Text, native_room
from core.store import TRANSIENT

log = structlog.get_logger()

OURS = "sameroom-"
"""What the ``source_guid`` of our posts begins with: the user may also write by hand, and that is relayed."""
LOOK_BACK_PAGES = 10


def guid(account: AccountId, key: str, part: int) -> str:
    """The ``source_guid`` of a part of a post: the same on every try."""
    return OURS + hashlib.sha256(f"{account}\n{key}\n{part}".encode()).hexdigest()[:32]


class Speaker(GroupMe):
    """The half of a user's account that talks."""

    async def lost(self, group: str) -> None:
        """GroupMe says that a group is not there for us."""

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it, each part with its own ``source_guid``; what an earlier try posted is found and not posted again."""
        self._usable()
        try:
            tried_s = await self._memory.begin(outbound.key)
        except TRANSIENT:
            raise Retry(1.0, "the store does not answer") from None
        there = await self._look_for(outbound, tried_s) if tried_s else {}
        natives: list[NativeId] = []
        try:
            await self._post_parts(outbound, there, natives)
        except (Retry, AuthLost, Rejected):
            if not natives and not there:
                with contextlib.suppress(*TRANSIENT):
                    await self._memory.not_begun(outbound.key)
            raise
        with contextlib.suppress(*TRANSIENT):
            await self._memory.done(outbound.key)
        return Receipt(tuple(natives))

    async def _post_parts(self, outbound: Outbound, there: Mapping[str, str], natives: list[NativeId]) -> None:
        group, text = native_room(outbound.room), outbound.text
        attachments: list[dict[str, Any]] = []
        if outbound.reply_to:
            attachments.append({"type": "reply", "reply_id": outbound.reply_to, "base_reply_id": outbound.reply_to})
        if outbound.files and guid(self.account, outbound.key, 0) not in there:
            made, text = await uploaded(self._api, group, outbound.files, text)
            attachments += made
        cut = dialect.parts(text, outbound.max_parts) or ([Text()] if attachments or there else [])
        if not cut:
            raise Rejected("The message has no text that GroupMe could show.")
        for number, part in enumerate(cut):
            name = guid(self.account, outbound.key, number)
            native = there.get(name) or await self._post(group, name, part, attachments if number == 0 else [])
            natives.append(NativeId(native))

    async def _post(self, group: str, name: str, part: Text, attachments: Sequence[dict[str, Any]]) -> str:
        extra = dialect.mentions(part, await self._members_for(group, part))
        try:
            if native := await self._api.post(group, name, part.plain, [*attachments, *extra]):
                return native
        except NotThere:
            await self.lost(group)
            raise
        except Conflict:
            log.debug("groupme has the message already", account=self.account)
        found = next((m for m in await self._api.messages(group) if id_of(m.source_guid) == name), None)
        if found is None:
            raise Uncertain("GroupMe says that it has the message, and does not show it")
        return found.native

    def _usable(self) -> None:
        if self._auth_lost:
            raise AuthLost(self._auth_lost)

    async def _look_for(self, outbound: Outbound, since_s: int) -> dict[str, str]:
        """``source_guid`` → id of the parts that stand in the group already."""
        wanted = {guid(self.account, outbound.key, part) for part in range(outbound.max_parts)}
        found: dict[str, str] = {}
        where: dict[str, str] = {}
        for _ in range(LOOK_BACK_PAGES):
            page = await self._api.messages(native_room(outbound.room), where=where)
            found |= {name: m.native for m in page if (name := id_of(m.source_guid)) in wanted and m.id}
            # A minute for clocks that do not agree.
            if not page or page[-1].at_ms < (since_s - 60) * 1000 or len(found) == len(wanted):
                break
            where = {"before_id": page[-1].native}
        return found

    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        """Look for the post by its ``source_guid``."""
        found = await self._look_for(
            outbound, await self._memory.begin(outbound.key) or self._services.now_ms() // 1000
        )
        names = [guid(self.account, outbound.key, part) for part in range(outbound.max_parts)]
        natives = tuple(NativeId(found[name]) for name in names if name in found)
        return Receipt(natives) if natives else None

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change the parts in place; delete those that are too many, post those that are missing."""
        self._usable()
        group = native_room(outbound.room)
        cut = dialect.parts(outbound.text, outbound.max_parts) or [Text()]
        kept: list[NativeId] = []
        for native, part in zip(natives, cut, strict=False):
            standing = await self._api.message(group, native)
            others = [item for item in standing.attachments or () if item.get("type") != "mentions"]
            extra = dialect.mentions(part, await self._members_for(group, part))
            await self._api.edit(group, native, part.plain, [*others, *extra])
            kept.append(native)
        for native in natives[len(cut) :]:
            await self._api.delete(group, native)
        for number, part in enumerate(cut[len(natives) :], len(natives)):
            kept.append(NativeId(await self._post(group, guid(self.account, outbound.key, number), part, [])))
        return Receipt(tuple(kept))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take our posts away."""
        self._usable()
        for native in natives:
            await self._api.delete(native_room(room), native)

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Show the newest reaction that anybody elsewhere put on the message; the user has only one. Where GroupMe has
        none that is near, it is said in words."""
        self._usable()
        group, nearest = native_room(room), dialect.reaction(emoji)
        if not nearest:
            words = f"({author.name} {'reacted' if added else 'took back'} {emoji})"
            reply = [{"type": "reply", "reply_id": native, "base_reply_id": native}]
            name = guid(self.account, f"{native}\n{author.id}\n{emoji}\n{added}", 0)
            await self._post(group, name, dialect.parts(Text(words), 1)[0], reply)
            return
        newest = await self._memory.wish(f"{group}.{native}", f"{author.id}\n{emoji}", nearest, added=added)
        await self._api.like(group, native, newest)
