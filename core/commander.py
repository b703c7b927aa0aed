"""Carries out the commands that people type in a room or click in the portal. One method per command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec.structs import replace

from codes.links import LinkError
from codes.pairing import TooManyGuesses, WrongCode
from core import keys, replies
from core.command_language import COMMANDS, Command, Unknown, nearest
from core.connecting import Connector
from core.deps import Deps
from core.model import Author, RoomId, account_of, native_room
from core.pinging import Pinger
from core.router import Router, person_key
from core.step import Step
from core.text.safety import clean_name
from core.topology import Topology
from core.wire import ConnectAsked, RoomState, Tube

FREE = frozenset({"help", "list", "map", "ping"})
"""Commands that anybody may give, whatever ``connect`` is set to."""


@dataclass(frozen=True)
class Asked:
    """A command and who gave it."""

    step: Step
    room: RoomId
    name: str
    argument: str
    actor: str
    """The author's name for people."""
    person: str
    """Who that is for the guess limits and the security log: ``account/author id``."""
    is_admin: bool | None
    """None: the platform was not asked or has no answer."""
    act: str = ""
    """Id of the Act, if it came from the portal."""

    def answer(self, text: str) -> None:
        """Reply where the command was given."""
        self.step.answer(self.room, text, self.act)


class Commander:
    """The commands of one shard's rooms."""

    def __init__(self, topology: Topology, router: Router, connector: Connector, pinger: Pinger, deps: Deps) -> None:
        self._topology = topology
        self._router = router
        self._connector = connector
        self._pinger = pinger
        self._deps = deps
        self._settings = deps.settings
        self._prefix = deps.settings.prefix
        self._do: dict[str, Callable[[Asked], Awaitable[None]]] = {name: getattr(self, f"_{name}") for name in COMMANDS}

    async def message(self, step: Step, room: RoomId, author: Author, command: Command | Unknown) -> None:
        """Carry out a command typed by ``author``."""
        is_admin = None if author.role == "" else author.role == "admin"
        person = f"{account_of(room)}/{author.id}"
        name, argument = (command.name, command.argument) if isinstance(command, Command) else ("", "")
        asked = Asked(step, room, name, argument, author.name, person, is_admin)
        if isinstance(command, Unknown):
            asked.answer(replies.unknown_command(self._prefix, command))
        else:
            await self.carry_out(asked)

    async def carry_out(self, asked: Asked) -> None:
        """Carry out a command, if its name is one."""
        if asked.name not in COMMANDS:
            asked.answer(replies.unknown_command(self._prefix, Unknown(asked.name, nearest(asked.name))))
            return
        needs = COMMANDS[asked.name].needs_argument
        if self._settings.connect == "admins" and asked.is_admin is not True and asked.name not in FREE:
            asked.answer(replies.admins_only(asked.name))
        elif needs and not asked.argument:
            asked.answer(replies.missing_argument(self._prefix, asked.name))
        else:
            await self._do[asked.name](asked)

    # --- finding each other

    async def _help(self, asked: Asked) -> None:
        asked.answer(replies.help_text(self._prefix))

    async def _open(self, asked: Asked) -> None:
        issued = await self._deps.codes.issue(asked.room, by=asked.actor)
        asked.step.log("open", asked.room, asked.person)
        asked.answer(replies.code_issued(self._prefix, issued.code, self._settings.code_ttl_s))

    async def _connect(self, asked: Asked) -> None:
        claim = f"{self._connector.index}:{asked.step.entry}"
        try:
            if "/p/" in asked.argument:
                token = asked.argument.rpartition("/p/")[2].partition("?")[0].strip("/")
                link = await self._deps.links.use("portal", token, claim)
                other = RoomId(link.subject)
            else:
                redeemed = await self._deps.codes.redeem(
                    asked.argument, claim=claim, person=asked.person, room=asked.room
                )
                other = RoomId(redeemed.subject)
        except WrongCode:
            asked.answer(replies.wrong_code(self._prefix))
        except TooManyGuesses as error:
            asked.step.log("guesses", asked.room, asked.person)
            asked.answer(replies.too_many_guesses(error.retry_after_s))
        except LinkError:
            asked.answer(replies.wrong_link(self._prefix))
        else:
            await self._connect_to(asked, other)

    async def _connect_to(self, asked: Asked, other: RoomId) -> None:
        if other == asked.room:
            asked.answer(replies.same_room(self._prefix, asked.argument))
            return
        wish = ConnectAsked(
            asked.room,
            other,
            by=asked.actor,
            asked_in=asked.room,
            reply_to=asked.act,
            confirmed=self._settings.connect != "confirm",
        )
        await self._connector.connect(wish, asked.step)

    async def _confirm(self, asked: Asked) -> None:
        state, wish = self._pending(asked)
        if wish is None:
            asked.answer(replies.nothing_to_confirm(self._prefix))
            return
        asked.step.put_room(replace(state, asking=None))
        asked.step.log("confirm", asked.room, asked.person)
        await self._connector.connect(replace(wish, confirmed=True, reply_to=asked.act), asked.step)

    async def _deny(self, asked: Asked) -> None:
        state, wish = self._pending(asked)
        if wish is None:
            asked.answer(replies.nothing_to_confirm(self._prefix))
            return
        asked.step.put_room(replace(state, asking=None))
        asked.step.log("deny", asked.room, asked.person)
        asked.step.out.tell(replies.denied(state.label()), wish.asked_in)
        asked.answer(replies.refused(self._label(wish.asked_in)))

    def _pending(self, asked: Asked) -> tuple[RoomState, ConnectAsked | None]:
        """The connection that waits for an answer here, if it is the one that was named."""
        state = self._topology.rooms[asked.room]
        wish = state.asking
        if wish is None or asked.step.now_ms >= state.asking_until_ms:
            return state, None
        joiner = self._topology.rooms.get(wish.asked_in)
        if asked.argument and (joiner is None or not _matches(joiner, asked.argument)):
            return state, None
        return state, wish

    def _label(self, room: RoomId) -> str:
        state = self._topology.rooms.get(room)
        return state.label() if state else native_room(room)

    async def _portal(self, asked: Asked) -> None:
        token = await self._deps.links.issue_revocable("portal", asked.room)
        asked.step.log("portal", asked.room, asked.person)
        needs_approval = self._settings.connect == "confirm"
        url = f"{self._deps.public_url}/p/{token}"
        asked.answer(replies.portal_link(self._prefix, url, approval=needs_approval))

    async def _close(self, asked: Asked) -> None:
        codes = await self._deps.codes.revoke(asked.room)
        links = await self._deps.links.revoke("portal", asked.room)
        asked.step.log("close", asked.room, asked.person)
        asked.answer(replies.closed(self._prefix, codes, links))

    # --- looking

    async def _list(self, asked: Asked) -> None:
        topology = self._topology
        rooms = [room for room in topology.component(asked.room)[1:] if room in topology.rooms]
        waiting = await self._waiting(rooms)
        direct = {tube.other(asked.room): tube for tube in topology.tubes_of(asked.room)}
        lines = [
            replies.RoomLine(
                topology.rooms[room].label(),
                self._state_of(room, direct.get(room)),
                waiting.get(room, 0),
                room in direct,
            )
            for room in rooms
        ]
        asked.answer(replies.room_list(self._prefix, lines, paused_here=topology.rooms[asked.room].paused))

    def _state_of(self, room: RoomId, tube: Tube | None) -> replies.State:
        state = self._topology.rooms[room]
        if state.away:
            return "away"
        if state.paused or (tube and tube.paused):
            return "paused"
        if tube and tube.direction != "both":
            return "sends" if (tube.direction == "a>b") == (tube.a == room) else "hears"
        return "on"

    async def _waiting(self, rooms: list[RoomId]) -> dict[RoomId, int]:
        pipeline = self._deps.store.pipeline(transaction=False)
        for room in rooms:
            pipeline.hget(keys.waiting(keys.account_tag(account_of(room))), room)
        found = await pipeline.execute()
        return {room: int(count) for room, count in zip(rooms, found, strict=True) if count}

    async def _map(self, asked: Asked) -> None:
        token = self._deps.links.sign("map", asked.room)
        asked.answer(replies.map_link(f"{self._deps.public_url}/map/{token}", self._settings.link_ttl_s))

    async def _ping(self, asked: Asked) -> None:
        others = [room for room in self._topology.component(asked.room)[1:] if room in self._topology.rooms]
        if not others:
            asked.answer(replies.not_connected(self._prefix))
            return
        labels = {room: self._topology.rooms[room].label() for room in others}
        self._pinger.start(asked, labels)

    async def _manage(self, asked: Asked) -> None:
        payload = {"room": asked.room, "person": asked.person, "name": asked.actor}
        token = await self._deps.links.issue_once("manage", payload, self._settings.manage_ttl_s)
        asked.step.log("manage", asked.room, asked.person)
        asked.answer(replies.manage_link(f"{self._deps.public_url}/manage/{token}", self._settings.manage_ttl_s))

    # --- changing

    async def _disable(self, asked: Asked) -> None:
        tubes = self._topology.tubes_of(asked.room)
        if not tubes:
            asked.answer(replies.not_connected(self._prefix))
            return
        self._cut(asked, tubes)
        asked.step.log("disable", asked.room, asked.person, f"{len(tubes)} tubes")
        asked.answer(replies.disabled(self._prefix, len(tubes)))

    def _cut(self, asked: Asked, tubes: list[Tube]) -> None:
        here = self._topology.rooms[asked.room]
        for tube in tubes:
            asked.step.drop_tube(tube.id)
        others = (self._topology.rooms.get(tube.other(asked.room)) for tube in tubes)
        there = [state.room for state in others if state and not state.away]
        asked.step.out.tell(replies.disconnected(self._prefix, here.label(), asked.actor), *there)

    async def _disconnect(self, asked: Asked) -> None:
        tubes = {tube.other(asked.room): tube for tube in self._topology.tubes_of(asked.room)}
        states = [self._topology.rooms[room] for room in tubes]
        found = [state for state in states if _matches(state, asked.argument)]
        if not found:
            asked.answer(replies.no_such_room(self._prefix, asked.argument, [s.label() for s in states]))
            return
        if len(found) > 1:
            asked.answer(replies.which_room(self._prefix, "disconnect", [s.room for s in found]))
            return
        other = found[0]
        self._cut(asked, [tubes[other.room]])
        asked.step.log("disconnect", asked.room, asked.person, other.label())
        text = replies.disconnected(self._prefix, other.label(), asked.actor)
        if other.room in self._topology.component(asked.room):
            text = f"{text}\n{replies.still_reached(self._prefix, other.label())}"
        asked.answer(text)

    async def _pause(self, asked: Asked) -> None:
        self._set_paused(asked, True)
        asked.answer(replies.paused(self._prefix))

    async def _resume(self, asked: Asked) -> None:
        self._set_paused(asked, False)
        asked.answer(replies.resumed(self._prefix))

    def _set_paused(self, asked: Asked, paused: bool) -> None:
        state = self._topology.rooms[asked.room]
        asked.step.put_room(replace(state, paused=paused))
        asked.step.log("pause" if paused else "resume", asked.room, asked.person)

    async def _format(self, asked: Asked) -> None:
        state = self._topology.rooms[asked.room]
        wanted = asked.argument.casefold().replace(" ", "")
        if not wanted:
            asked.answer(replies.format_shown(self._prefix, state.style))
            return
        style = next((option for option in replies.STYLE_SAMPLES if option == wanted), None)
        if style is None:
            asked.answer(replies.format_unknown(self._prefix, asked.argument))
            return
        asked.step.put_room(replace(state, style=style))
        asked.step.log("format", asked.room, asked.person, style)
        asked.answer(replies.format_set(style))

    async def _ban(self, asked: Asked) -> None:
        found = self._banned_by_name(asked)
        if found is None:
            asked.answer(replies.nobody_called(asked.argument))
            return
        key, name = found
        state = self._topology.rooms[asked.room]
        asked.step.put_room(replace(state, bans=state.bans | {key: name}))
        asked.step.log("ban", asked.room, asked.person, f"{key} ({name})")
        asked.answer(replies.banned(self._prefix, name))

    def _banned_by_name(self, asked: Asked) -> tuple[str, str] | None:
        """The key and the name of whom the argument means: a person who was heard lately, or else a room."""
        wanted = asked.argument.removeprefix("@").casefold()
        others = {room: self._topology.rooms.get(room) for room in self._topology.component(asked.room)[1:]}
        for (room, raw), author_id in reversed(self._router.heard.items()):
            if room in others and wanted in _shown(raw, others[room], self._settings.max_name_chars):
                return person_key(room, author_id), clean_name(raw, self._settings.max_name_chars)
        for room, state in others.items():
            if state and _matches(state, asked.argument):
                return f"room {room}", state.label()
        return None

    async def _unban(self, asked: Asked) -> None:
        state = self._topology.rooms[asked.room]
        name = asked.argument.removeprefix("@").casefold()
        gone = {key for key, shown in state.bans.items() if name in (shown.casefold(), key.casefold())}
        if not gone:
            asked.answer(replies.not_banned(self._prefix, asked.argument, sorted(state.bans.values())))
            return
        asked.step.put_room(replace(state, bans={k: v for k, v in state.bans.items() if k not in gone}))
        asked.step.log("unban", asked.room, asked.person, asked.argument)
        asked.answer(replies.unbanned(asked.argument))


def _shown(raw: str, state: RoomState | None, max_chars: int) -> set[str]:
    """The ways in which a person of a room is shown elsewhere, in lower case."""
    name = clean_name(raw, max_chars)
    ways = {name, raw}
    if state:
        ways |= {f"{name} ({state.platform_title})", f"{name} ({state.title})"}
    return {way.casefold() for way in ways}


def _matches(state: RoomState, typed: str) -> bool:
    wanted = typed.casefold()
    names = {state.title.casefold(), state.label().casefold(), state.room.casefold()}
    return wanted in names or wanted.lstrip("#") in {name.lstrip("#") for name in names}
