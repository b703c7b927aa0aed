"""What the portal needs from the rest of the system, as protocols: the composition root fits them together.

The views are read-only protocols, so that any frozen struct with these fields will do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from aiohttp import web

from codes.links import Links
from core.contract import Adapter
from core.model import AccountId, AuthorStyle, RoomId
from core.settings import Settings
from core.store import Redis

if TYPE_CHECKING:
    from portal.desk import Desk

Direction = Literal["both", "a_to_b", "b_to_a"]
"""Which way a tube relays."""


class BanView(Protocol):
    """A remote person or room that is not relayed into a room."""

    @property
    def id(self) -> str:
        """What ``unban`` takes."""

    @property
    def name(self) -> str:
        """For people."""


class LogView(Protocol):
    """An entry of a room's security log."""

    @property
    def at_ms(self) -> int:
        """Unix time in milliseconds."""

    @property
    def text(self) -> str:
        """Who did what, for people."""


class RoomView(Protocol):
    """A room as its page and the map show it."""

    @property
    def room(self) -> RoomId: ...

    @property
    def title(self) -> str: ...

    @property
    def platform_title(self) -> str: ...

    @property
    def paused(self) -> bool: ...

    @property
    def author_style(self) -> AuthorStyle: ...

    @property
    def bans(self) -> Sequence[BanView]: ...

    @property
    def portal_open(self) -> bool:
        """There is at least one portal or code that ``close`` would revoke."""

    @property
    def log(self) -> Sequence[LogView]:
        """The newest entries of the security log, newest first."""


class TubeView(Protocol):
    """A connection of two rooms."""

    @property
    def id(self) -> str: ...

    @property
    def a(self) -> RoomId: ...

    @property
    def b(self) -> RoomId: ...

    @property
    def direction(self) -> Direction: ...

    @property
    def paused(self) -> bool: ...

    @property
    def created_by(self) -> str: ...

    @property
    def created_at_ms(self) -> int: ...


class SameroomView(Protocol):
    """Everything that tubes connect with one room."""

    @property
    def rooms(self) -> Sequence[RoomView]: ...

    @property
    def tubes(self) -> Sequence[TubeView]: ...

    @property
    def waiting(self) -> dict[RoomId, int]:
        """Messages that wait for a room; rooms without any may be missing."""


class Directory(Protocol):
    """Reads rooms and tubes from the store."""

    async def room(self, room_id: RoomId) -> RoomView | None:
        """The room, or None when nobody knows it."""

    async def sameroom(self, room_id: RoomId) -> SameroomView:
        """The sameroom that ``room_id`` is in: at least the room itself, when it is known."""


class Pairing(Protocol):
    """Codes, as ``-sameroom open`` gives them out."""

    async def issue_code(self, room_id: RoomId, by: str) -> str:
        """A fresh code for the room; ``by`` is for the security log."""


@runtime_checkable
class GuestRooms(Protocol):
    """An account whose rooms live in the browser, for people who have nothing else."""

    @property
    def account(self) -> AccountId: ...

    @property
    def new_room_path(self) -> str:
        """Where a form makes a room, enters it and connects it: fields ``name`` (of the room), ``guest`` (of the
        visitor) and ``connect`` (a code or portal link), all but the first optional. Same origin only.
        """

    def visitor(self, request: web.Request, response: web.StreamResponse) -> str:
        """Who this browser is as a guest; ``response`` gives it the cookie that says so, which must reach our
        own pages too (path ``/``). Called before several rooms open at once in one page, so that they all
        meet the same guest.
        """

    async def create_room(self, title: str, visitor: str) -> str:
        """A new, empty room that ``visitor`` runs. Returns the secret word of its address (letters, digits,
        ``-``, ``_``); who knows it may enter. Raises AdapterError (Rejected, Retry) when there can be no more.
        """

    def room_path(self, key: str, *, embed: bool = False) -> str:
        """The room's page on this site; ``embed``: as it looks inside an iframe of ours."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: the person's id, which rights are given to, and the name for people."""

    person: str
    name: str


class Act(Protocol):
    """Submits a command into the same queue as a command typed in chat, and waits for its reply."""

    async def __call__(self, room_id: RoomId, by: Actor, name: str, argument: str) -> str:
        """``name`` is the command's word, ``argument`` what follows it. ``disconnect`` gets the other room's
        RoomId, ``unban`` the ban's id. Returns the reply for people.
        """


@dataclass(frozen=True, slots=True)
class Account:
    """An account whose routes, files and invitation the portal serves."""

    id: AccountId
    platform_title: str
    adapter: Adapter
    router: web.UrlDispatcher = field(default_factory=web.UrlDispatcher)
    """Its HTTP routes, as :func:`portal.mounts.router` makes them."""
    is_public: bool = True
    """Anybody may invite it; not so the account of a team."""


@dataclass(frozen=True, slots=True)
class PortalDeps:
    """Everything the portal works with. ``metrics_token`` empty: only this machine may read the metrics."""

    settings: Settings
    store: Redis
    links: Links
    directory: Directory
    act: Act
    pairing: Pairing
    may_manage: Callable[[RoomId, str], Awaitable[bool]]
    """``may_manage(room, person)``: may this person change this room, as of now?"""
    accounts: Callable[[], Sequence[Account]]
    """The accounts there are now; they may change between two requests."""
    health: Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]
    metrics: Callable[[], bytes]
    now_ms: Callable[[], int]
    random_id: Callable[[], str]
    """A new unguessable id: 128 bits, letters and digits."""
    apps: Callable[[], Mapping[str, web.UrlDispatcher]] = dict
    """The routes of the operator's apps by platform, as :func:`portal.mounts.router` makes them."""
    metrics_token: str = ""
    desk: Desk | None = None
    """Adds accounts and looks after them; None: the portal has no pages for that."""

    @property
    def public_url(self) -> str:
        """Where browsers reach the portal; no trailing slash."""
        return self.settings.site_url

    @property
    def guest_rooms(self) -> GuestRooms | None:
        """The account that makes guest rooms, or None."""
        return next((one.adapter for one in self.accounts() if isinstance(one.adapter, GuestRooms)), None)

    def account(self, account_id: str) -> Account | None:
        """The account of that id, or None."""
        return next((account for account in self.accounts() if account.id == account_id), None)
