"""Stand-ins for what the portal is given by others: readers and commands over rooms kept in memory.

They are strict: an unknown room, tube or command is an error of the test. Links and codes are the real ones,
on the real store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from aiohttp import web

from core.contract import Capabilities, Invite, Outbound, Receipt, Rejected, RoomInfo, Route
from core.model import AccountId, PlatformEvent, RoomId
from portal.deps import Actor

WEB, SHED = AccountId("web"), AccountId("shed")


@dataclass(frozen=True)
class Ban:
    """A BanView."""

    id: str
    name: str


@dataclass(frozen=True)
class Entry:
    """A LogView."""

    at_ms: int
    text: str


@dataclass(frozen=True)
class Room:
    """A RoomView."""

    room: RoomId
    title: str
    platform_title: str = "IRC"
    paused: bool = False
    author_style: str = "name+platform"
    bans: tuple[Ban, ...] = ()
    portal_open: bool = True
    log: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Tube:
    """A TubeView."""

    id: str
    a: RoomId
    b: RoomId
    direction: str = "both"
    paused: bool = False
    created_by: str = "ada"
    created_at_ms: int = 1_800_000_000_000


@dataclass(frozen=True)
class Sameroom:
    """A SameroomView."""

    rooms: tuple[Room, ...]
    tubes: tuple[Tube, ...]
    waiting: dict[RoomId, int]


@dataclass
class Town:
    """All rooms and tubes; it is the Directory, and ``act`` does to it what commands do."""

    rooms: dict[str, Room] = field(default_factory=dict)
    tubes: list[Tube] = field(default_factory=list)
    waiting: dict[RoomId, int] = field(default_factory=dict)
    managers: set[tuple[str, str]] = field(default_factory=set)
    acts: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, room: str, title: str, **values: object) -> RoomId:
        """A new room."""
        self.rooms[room] = Room(RoomId(room), title, **values)  # type: ignore[arg-type]
        return RoomId(room)

    def join(self, a: str, b: str, **values: object) -> Tube:
        """A new tube between two rooms that exist."""
        tube = Tube(f"t{len(self.tubes)}", self.rooms[a].room, self.rooms[b].room, **values)  # type: ignore[arg-type]
        self.tubes.append(tube)
        return tube

    async def room(self, room_id: RoomId) -> Room | None:
        """Directory.room."""
        return self.rooms.get(room_id)

    async def sameroom(self, room_id: RoomId) -> Sameroom:
        """Directory.sameroom."""
        reached = [room_id] if room_id in self.rooms else []
        for room in reached:
            for tube in self.tubes:
                if room in (tube.a, tube.b):
                    reached.extend(end for end in (tube.a, tube.b) if end not in reached)
        tubes = tuple(tube for tube in self.tubes if tube.a in reached)
        waiting = {room: count for room, count in self.waiting.items() if room in reached}
        return Sameroom(tuple(self.rooms[room] for room in reached), tubes, waiting)

    async def may_manage(self, room: RoomId, person: str) -> bool:
        """PortalDeps.may_manage."""
        return (room, person) in self.managers

    async def act(self, room_id: RoomId, by: Actor, name: str, argument: str) -> str:
        """PortalDeps.act."""
        self.acts.append((room_id, by.person, name, argument))
        room = self.rooms[room_id]
        changes: dict[str, object] = {}
        if name in ("pause", "resume", "close", "disable"):
            assert argument == ""
        if name in ("pause", "resume"):
            changes = {"paused": name == "pause"}
        elif name == "close":
            changes = {"portal_open": False}
        elif name == "format":
            changes = {"author_style": argument}
        elif name == "ban":
            changes = {"bans": (*room.bans, Ban(f"id-{len(room.bans)}", argument))}
        elif name == "unban":
            assert argument in {ban.id for ban in room.bans}
            changes = {"bans": tuple(ban for ban in room.bans if ban.id != argument)}
        elif name == "disable":
            self.tubes = [tube for tube in self.tubes if room_id not in (tube.a, tube.b)]
        elif name == "disconnect":
            gone = [tube for tube in self.tubes if {tube.a, tube.b} == {room_id, argument}]
            assert gone, f"{room_id} is not connected with {argument}"
            self.tubes.remove(gone[0])
        else:
            raise AssertionError(f"no command {name}")
        self.rooms[room_id] = replace(room, **changes)  # type: ignore[arg-type]
        return f"Done: {name} {argument}".strip()


@dataclass
class Unstarted:
    """What every adapter has, in a process that only serves its routes."""

    town: Town
    account: AccountId = WEB

    async def start(self, emit: object) -> None:
        """Adapter.start."""

    async def stop(self) -> None:
        """Adapter.stop."""

    def capabilities(self, room: RoomId) -> Capabilities:
        """Adapter.capabilities."""
        return Capabilities()

    async def send(self, outbound: Outbound) -> Receipt:
        """Adapter.send."""
        raise AssertionError("the portal sends nothing")

    def room_info(self, room: RoomId) -> RoomInfo:
        """Adapter.room_info."""
        return RoomInfo(room, self.town.rooms[room].title)


@dataclass
class GuestHouse(Unstarted):
    """GuestRooms, and the adapter that serves their pages."""

    full: bool = False
    opened: list[dict[str, object]] = field(default_factory=list)

    @property
    def new_room_path(self) -> str:
        """GuestRooms.new_room_path."""
        return "/bots/web/rooms"

    def visitor(self, request: web.Request, response: web.StreamResponse) -> str:
        """GuestRooms.visitor."""
        known = request.cookies.get("guest") or f"guest-{len(self.town.rooms)}"
        response.set_cookie("guest", known)
        return known

    async def create_room(self, title: str, visitor: str) -> str:
        """GuestRooms.create_room."""
        assert visitor
        if self.full:
            raise Rejected("There are as many guest rooms as this server allows.")
        key = f"key-{len(self.town.rooms)}_X"
        self.town.add(f"web/{key}", title, platform_title="Browser")
        return key

    def room_path(self, key: str, *, embed: bool = False) -> str:
        """GuestRooms.room_path."""
        return f"/bots/web/r/{key}" + ("?embed=1" if embed else "")

    def routes(self, emit: object) -> Sequence[Route]:
        """Webhooks.routes."""
        return (Route("GET", "r/{key}", self._page), Route("POST", "rooms", self._open))

    async def _open(self, request: web.Request) -> web.Response:
        assert request.headers.get("Origin") == f"http://{request.host}", "the real one refuses this"
        self.opened.append(dict(await request.post()))
        raise web.HTTPSeeOther(self.room_path(await self.create_room("Guest room", "guest")))

    async def _page(self, request: web.Request) -> web.Response:
        room = self.town.rooms.get(f"web/{request.match_info['key']}")
        if room is None:
            raise web.HTTPNotFound
        headers = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'"}
        text = f"<!doctype html><html lang=en><title>{room.title}</title><p>{room.title}"
        return web.Response(text=text, content_type="text/html", headers=headers)


@dataclass
class Shed(Unstarted):
    """An account with an invitation, files and a webhook, of a platform that does not exist."""

    account: AccountId = SHED
    files: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    invite_url: str = "https://chat.example/invite?code={code}"
    step: str = "Type /invite shedbot in your room"
    fail: Exception | None = None
    open_error: Exception | None = None

    def invite(self, code: str) -> Invite:
        """Invites.invite."""
        steps = (self.step, f"Type -sameroom connect {code}")
        return Invite("shedbot", steps, self.invite_url.format(code=code))

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Files.open_file."""
        if self.open_error:
            raise self.open_error
        if ref not in self.files:
            raise Rejected("The file was deleted where it came from.")
        for chunk in self.files[ref]:
            yield chunk

    def routes(self, emit: object) -> Sequence[Route]:
        """Webhooks.routes."""
        return (Route("POST", "hook/{secret}", self._hook),)

    async def _hook(self, request: web.Request) -> web.Response:
        if self.fail:
            raise self.fail
        self.bodies.append(await request.read())
        return web.Response(text="ok")


class Silent:
    """An Emit that nothing may reach."""

    def __call__(self, event: PlatformEvent) -> None:
        raise AssertionError("no event is expected")

    async def accepted(self) -> None:
        """Emit.accepted."""

    def online(self) -> None:
        """Emit.online."""

    def offline(self, reason: str) -> None:
        """Emit.offline."""
