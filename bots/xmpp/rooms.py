"""The rooms we are in or want to be in, and who is there, by what their presence says (XEP-0045)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Literal
from xml.etree.ElementTree import Element

import msgspec

from bots.xmpp import xml as x
from core.contract import AdapterError
from core.model import AccountId, Author, RoomId, room_id

State = Literal["out", "joining", "joined"]
RUNNERS: Final = frozenset({"owner", "admin"})
SEEN: Final = 300
"""Messages of a room whose author and beginning are kept in memory, for answers to them."""
EXCERPT_CHARS: Final = 120


class Occupant(msgspec.Struct, frozen=True):
    """Somebody in a room. ``jid`` is bare, and empty where the room does not tell it."""

    jid: str = ""
    occupant_id: str = ""
    affiliation: str = "none"
    role: str = "none"
    is_bot: bool = False


class Seen(msgspec.Struct, frozen=True):
    """A message that stands in the room."""

    nick: str
    excerpt: str


class Room:
    """One room. ``jid`` is its bare address, in small letters."""

    __slots__ = (
        "changed_at_s", "configured", "features", "ghost_nicks", "invited_by", "jid", "kicked", "known", "named",
        "nick", "occupants", "password", "problem", "removed", "room", "seen", "state", "tries", "wanted",
    )  # fmt: skip

    def __init__(self, account: AccountId, jid: str, nick: str) -> None:
        self.jid = jid
        self.room: RoomId = room_id(account, jid)
        self.nick = nick
        """Ours, in this room."""
        self.password = ""
        self.state: State = "out"
        self.features: frozenset[str] = frozenset()
        self.named = ""
        """Its name, as its owner wrote it."""
        self.occupants: dict[str, Occupant] = {}
        self.ghost_nicks: set[str] = set()
        """Nicks under which authors from other rooms are here."""
        self.seen: OrderedDict[str, Seen] = OrderedDict()
        self.problem: AdapterError | None = None
        """Why we are not in it, as it is told to whoever posts there."""
        self.configured = False
        self.known = False
        """Its BotAdded has been emitted, now or in an earlier life."""
        self.removed = False
        """Its BotRemoved has been emitted, and no BotAdded since."""
        self.invited_by = ""
        """The address of who invited us; below the room's own where the room hides it."""
        self.wanted = True
        self.kicked = False
        self.tries = 0
        self.changed_at_s = 0.0
        """When the room last said anything."""

    @property
    def is_joined(self) -> bool:
        """Are we in it?"""
        return self.state == "joined"

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.named or self.jid.partition("@")[0]

    @property
    def stable_ids(self) -> bool:
        """The room gives every message an id (XEP-0359)."""
        return x.SID in self.features or x.MAM in self.features

    @property
    def archives(self) -> bool:
        """The room can be asked what was said (XEP-0313)."""
        return x.MAM in self.features

    @property
    def is_open(self) -> bool:
        """Everybody sees everybody's address."""
        return "muc_nonanonymous" in self.features

    def is_ours(self, nick: str) -> bool:
        """Do we speak under this nick?"""
        return nick == self.nick or nick in self.ghost_nicks

    def author(self, nick: str, occupant_id: str = "", jid: str = "") -> Author:
        """Who says something under ``nick``. The id is the most durable that the room tells everybody."""
        present = self.occupants.get(nick, Occupant())
        jid, occupant_id = jid or present.jid, occupant_id or present.occupant_id
        if self.is_open and jid:
            return Author(f"jid:{jid}", nick, is_bot=present.is_bot)
        if occupant_id and x.OCCUPANT in self.features:
            return Author(f"occupant:{occupant_id}", nick, is_bot=present.is_bot)
        return Author(f"nick:{nick}", nick, is_bot=present.is_bot)

    def runs_it(self, author_id: str) -> bool:
        """Is somebody with this id here who is the room's owner or admin, as of now?"""
        return any(
            occupant.affiliation in RUNNERS and self.author(nick).id == author_id
            for nick, occupant in self.occupants.items()
        )

    def saw(self, native: str, nick: str, plain: str) -> None:
        """A message stands in the room, or has a new text."""
        self.seen[native] = Seen(nick, " ".join(plain[: 2 * EXCERPT_CHARS].split())[:EXCERPT_CHARS])
        self.seen.move_to_end(native)
        if len(self.seen) > SEEN:
            self.seen.popitem(last=False)

    def left(self) -> None:
        """We are not in it (any more)."""
        self.state = "out"
        self.occupants.clear()
        self.ghost_nicks.clear()


def occupant(presence: Element) -> Occupant:
    """Who is behind an occupant's presence."""
    user = x.child(presence, x.MUC_USER, "x")
    item = x.child(user, x.MUC_USER, "item") if user is not None else None
    identity = x.child(presence, x.OCCUPANT, "occupant-id")
    hats = (hat.get("title", "").lower() for hat in presence.iter(f"{{{x.HATS}}}hat"))
    return Occupant(
        x.bare(item.get("jid", "")).lower() if item is not None else "",
        identity.get("id", "") if identity is not None else "",
        item.get("affiliation", "none") if item is not None else "none",
        item.get("role", "none") if item is not None else "none",
        "bot" in hats,
    )


class Rooms:
    """All rooms of an account, by address and by RoomId."""

    def __init__(self, account: AccountId, nick: str) -> None:
        self._account = account
        self._nick = nick
        self.by_jid: dict[str, Room] = {}
        self.by_room: dict[RoomId, Room] = {}

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self.by_jid.values()))

    def add(self, jid: str) -> Room:
        """The room at ``jid``, new or not."""
        room = self.by_jid.get(jid)
        if room is None:
            room = Room(self._account, jid, self._nick)
            self.by_jid[jid] = self.by_room[room.room] = room
        return room

    def forget(self, room: Room) -> None:
        """We have nothing to do with it any more."""
        self.by_jid.pop(room.jid, None)
        self.by_room.pop(room.room, None)
