"""What the bot says: one function for each reply, in plain words that say what to do next.

Pure: takes what is to be said as plain values and returns the text. Names that come from outside are put on
one line and cut, so that a name cannot fake a second line or bury the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from core.command_language import COMMANDS, Unknown
from core.model import AuthorStyle

_NAME_CHARS = 80
_JOINERS = "\u200c\u200d"
_EXCERPT_CHARS = 60
_SHOWN = 40
"""Most lines of a list; IRC shows each line as a message of its own."""

State = Literal["on", "paused", "away", "sends", "hears"]
"""How a room stands to ours. sends: it speaks here and hears nothing; hears: the other way round."""
_STATES: dict[State, str] = {
    "on": "connected",
    "paused": "paused",
    "away": "the bot is not there",
    "sends": "only sends here",
    "hears": "only hears this room",
}


class RoomLine(msgspec.Struct, frozen=True):
    """A room of the list. ``direct``: it has a tube to ours, and not only by way of other rooms."""

    label: str
    state: State = "on"
    waiting: int = 0
    direct: bool = True


class PingLine(msgspec.Struct, frozen=True):
    """A room's answer to a ping: the round trip in ms, or else why there was none."""

    label: str
    ms: float | None = None
    error: str = ""


# --- pieces --------------------------------------------------------------------------------------------------


def command(prefix: str, *words: str) -> str:
    """How a command is typed: ``-sameroom connect HLDMU-42K7``."""
    return " ".join((f"-{prefix}", *words))


def duration(seconds: float) -> str:
    """``2 minutes``, ``90 seconds``, ``1 day``: in the largest unit that fits, rounded up to whole ones."""
    whole = max(1, -int(-seconds // 1))
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if whole >= 2 * size or whole == size:
            return _counted(-(-whole // size), unit)
    return _counted(whole, "second")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _name(text: str, limit: int = _NAME_CHARS) -> str:
    line = " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(_name(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _lines(first: str, lines: Sequence[str]) -> str:
    more = [f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([first, *lines[:_SHOWN], *more])


# --- getting started -----------------------------------------------------------------------------------------


def hello(prefix: str) -> str:
    """Said once, when the bot is brought into a room."""
    return (
        f"Hello. I connect this room with rooms elsewhere. For a code to connect another room, "
        f"type: {command(prefix, 'open')}. For all commands, type: {command(prefix, 'help')}."
    )


def help_text(prefix: str) -> str:
    """The list of the commands, one line each, and the hush."""
    lines = [f"{command(prefix, spec.usage)} – {spec.summary}" for spec in COMMANDS.values()]
    return "\n".join([*lines, "^^^ text – is said in this room only"])


def unknown_command(prefix: str, unknown: Unknown) -> str:
    """A word after the prefix that is no command."""
    spec = COMMANDS[unknown.nearest]
    argument = _name(unknown.argument, 200) if spec.takes_argument else ""
    typed = command(prefix, unknown.nearest, argument) if argument else command(prefix, spec.usage)
    return (
        f"I do not know “{_name(unknown.word)}”. Did you mean: {typed} ? "
        f"For all commands, type: {command(prefix, 'help')}."
    )


def missing_argument(prefix: str, name: str) -> str:
    """A command that needs something after it was typed without."""
    return f"Something is missing. Type: {command(prefix, COMMANDS[name].usage)}"


def admins_only(name: str) -> str:
    """The person may not do this here."""
    return f"Only people who run this room may use “{name}” here. Ask one of them to type it."


# --- connecting ----------------------------------------------------------------------------------------------


def code_issued(prefix: str, code: str, ttl_s: int) -> str:
    """A new code for this room."""
    return (
        f"Your code is {code}. In the other room, type: {command(prefix, 'connect', code)}. "
        f"It works once, for {duration(ttl_s)}."
    )


def connected(prefix: str, other: str, by: str) -> str:
    """Told in both rooms: what they are connected to, by whom, and how to undo it."""
    room = _name(other)
    return (
        f"This room is now connected to {room}, by {_name(by)}. What is said here is heard there, and the "
        f"other way round. To undo it, type: {command(prefix, 'disconnect', room)}"
    )


def same_room(prefix: str, typed: str = "<code>") -> str:
    """A code was typed in the room that it came from. It is still good."""
    return (
        "That code is this room's own, and it is still good. "
        f"Type this in the other room: {command(prefix, 'connect', _name(typed))}"
    )


def already_connected(prefix: str, other: str) -> str:
    """Both rooms are in one sameroom already; nothing was changed."""
    return (
        f"This room and {_name(other)} are connected already, so nothing was changed. "
        f"To see all connected rooms, type: {command(prefix, 'list')}."
    )


def wrong_code(prefix: str) -> str:
    """A wrong, used or expired code: the same words for all three."""
    return (
        f"That code is wrong, used or too old. For a new one, type this in the other room: {command(prefix, 'open')}."
    )


def wrong_link(prefix: str) -> str:
    """A portal link that is no good: damaged, expired, used up or closed."""
    return (
        "That link does not work, or no longer. Copy it again in full, or get a new one: "
        f"type this in the other room: {command(prefix, 'portal')}."
    )


def too_many_guesses(retry_after_s: int) -> str:
    """The person, the room or everybody typed too many wrong codes."""
    return f"There were too many wrong codes. Wait {duration(retry_after_s)}, then try with a new code."


def confirm_asked(prefix: str, other: str, by: str, ttl_s: int) -> str:
    """Told in the room that opened: somebody wants to connect, and it must be confirmed here."""
    room = _name(other)
    return (
        f"{_name(by)} wants to connect {room} to this room. To agree, type: "
        f"{command(prefix, 'confirm', room)} – to refuse: {command(prefix, 'deny', room)}. "
        f"Without an answer it lapses in {duration(ttl_s)}."
    )


def confirm_waits(other: str, ttl_s: int) -> str:
    """Told in the room that asked to connect."""
    return f"I asked {_name(other)}. The rooms are connected once somebody there agrees, within {duration(ttl_s)}."


def confirm_busy(other: str, ttl_s: int) -> str:
    """Told in the room that asked to connect: another one was first and waits for an answer."""
    return (
        f"{_name(other)} has not answered another room yet. Talk to them, and try again with a new code when they "
        f"have; at the latest it is free in {duration(ttl_s)}."
    )


def refused(other: str) -> str:
    """Told where ``deny`` was typed."""
    return f"Refused. {_name(other)} was told, and stays unconnected."


def denied(other: str) -> str:
    """Told in the room that asked to connect."""
    return f"{_name(other)} did not agree to connect. Talk to them, then ask for a new code."


def nothing_to_confirm(prefix: str) -> str:
    """``confirm`` or ``deny`` with nobody waiting."""
    return f"Nobody waits for an answer. For a new code, type: {command(prefix, 'open')}."


def portal_link(prefix: str, url: str, *, approval: bool, ttl_s: int = 0, max_uses: int = 0) -> str:
    """The link that connects rooms to this one. 0: without end."""
    how = "Each room needs your agreement first" if approval else "No approval is needed"
    ends = [f"for {duration(ttl_s)}"] if ttl_s else []
    ends += [_counted(max_uses, "time")] if max_uses else []
    works = f"It works {' and '.join(ends)}" if ends else "It works until you close it"
    return (
        f"Whoever opens this link can connect a room to this one, or join as a guest: {url}\n"
        f"{how}. {works}. To close it, type: {command(prefix, 'close')}."
    )


def closed(prefix: str, codes: int, links: bool) -> str:
    """Codes and portal links of this room were revoked."""
    gone = ([_counted(codes, "code")] if codes else []) + (["the portal link"] if links else [])
    if not gone:
        return "Nothing was open: this room has no codes and no portal link."
    return (
        f"Closed: {' and '.join(gone)}. Rooms that are connected stay so; "
        f"to end that too, type: {command(prefix, 'disable')}."
    )


# --- looking -------------------------------------------------------------------------------------------------


def room_list(prefix: str, rooms: Sequence[RoomLine], *, paused_here: bool = False) -> str:
    """The other rooms of this sameroom, the state of each tube, and what waits."""
    if not rooms:
        return not_connected(prefix)
    lines = [_room_line(room) for room in rooms]
    here = f" This room is paused; to go on, type: {command(prefix, 'resume')}." if paused_here else ""
    return _lines(f"Connected to {_counted(len(rooms), 'room')}.{here}", lines)


def _room_line(room: RoomLine) -> str:
    parts = [_STATES[room.state]]
    if not room.direct:
        parts.append("by way of another room")
    if room.waiting:
        parts.append(f"{_counted(room.waiting, 'message')} waiting")
    return f"• {_name(room.label)}: {', '.join(parts)}"


def map_link(url: str, ttl_s: int) -> str:
    """A link to the drawn map."""
    return f"All connected rooms in one drawing, for {duration(ttl_s)}: {url}"


def ping_results(lines: Sequence[PingLine]) -> str:
    """Every room's answer, the quick ones first, the silent ones last."""
    ordered = sorted(lines, key=lambda line: (line.ms is None, line.ms or 0.0))
    return _lines("Ping:", [_ping_line(line) for line in ordered])


def _ping_line(line: PingLine) -> str:
    if line.ms is None:
        return f"• {_name(line.label)}: no answer{f' ({_name(line.error)})' if line.error else ''}"
    return f"• {_name(line.label)}: {line.ms:,.0f} ms" if line.ms >= 1 else f"• {_name(line.label)}: under 1 ms"


def ping_asked(asked: int) -> str:
    """Told in the portal: the answers themselves come in the room."""
    return f"Asked {_counted(asked, 'room')}. The answers are told in the chat room."


def manage_link(url: str, ttl_s: int) -> str:
    """A one-time link to the room's page."""
    return f"This room's settings, for whoever opens it first, within {duration(ttl_s)}: {url}"


# --- ending and pausing --------------------------------------------------------------------------------------


def not_connected(prefix: str) -> str:
    """A command that needs a connected room, in a room without."""
    return f"This room is not connected to any other. To get a code, type: {command(prefix, 'open')}."


def disabled(prefix: str, rooms: int) -> str:
    """All tubes of this room are gone."""
    return (
        f"Ended: this room's connections to {_counted(rooms, 'room')}. "
        f"To connect again, type: {command(prefix, 'open')}."
    )


def disconnected(prefix: str, other: str, by: str) -> str:
    """Told in both rooms: one tube is gone."""
    return (
        f"This room is no longer connected to {_name(other)}; {_name(by)} ended it. "
        f"To connect again, type: {command(prefix, 'open')}."
    )


def still_reached(prefix: str, other: str) -> str:
    """Added where a tube is gone and the room is still in the same sameroom by another way."""
    return (
        f"{_name(other)} is still reached by way of another room. "
        f"To leave all of them, type: {command(prefix, 'disable')}."
    )


def no_such_room(prefix: str, typed: str, rooms: Sequence[str]) -> str:
    """``disconnect`` of a room that is not connected; with those that are."""
    if not rooms:
        return not_connected(prefix)
    return (
        f"No connected room is called “{_name(typed)}”. Connected are: {_listed(rooms)}. "
        f"Type: {command(prefix, 'disconnect', _name(rooms[0]))} – or another of these."
    )


def which_room(prefix: str, name: str, rooms: Sequence[str]) -> str:
    """``name`` is a command; what was typed after it fits several rooms or people."""
    return f"That fits more than one: {_listed(rooms)}. Type it in full: {command(prefix, name, _name(rooms[0]))}"


def paused(prefix: str) -> str:
    """Relaying stops in this room."""
    return (
        "Paused. Nothing is relayed from here or to here, and the connections are kept. "
        f"To go on, type: {command(prefix, 'resume')}."
    )


def resumed(prefix: str) -> str:
    """Relaying goes on in this room."""
    return f"Relaying again. To see the connected rooms, type: {command(prefix, 'list')}."


# --- names and bans ------------------------------------------------------------------------------------------

STYLE_SAMPLES: dict[AuthorStyle, str] = {
    "name": "Alice: hello",
    "name+platform": "Alice (Slack): hello",
    "name+room": "Alice (#garden): hello",
    "plain": "hello",
}
"""How each style shows a message, where the platform does not show the author by itself."""


def format_shown(prefix: str, style: AuthorStyle) -> str:
    """How names are shown here, and the other ways."""
    lines = [f"• {name}: {sample}" for name, sample in STYLE_SAMPLES.items()]
    first = f"Messages from elsewhere look like “{style}” here. To change it: {command(prefix, 'format', 'name')}"
    return "\n".join([f"{first} – or another of these:", *lines])


def format_set(style: AuthorStyle) -> str:
    """The new way to show names."""
    return f"From now on, messages from elsewhere look like this here: {STYLE_SAMPLES[style]}"


def format_unknown(prefix: str, typed: str) -> str:
    """No such format."""
    return f"There is no format “{_name(typed)}”. Type one of: " + ", ".join(
        command(prefix, "format", name) for name in STYLE_SAMPLES
    )


def banned(prefix: str, name: str) -> str:
    """A person or room elsewhere is no longer relayed into this room."""
    shown = _name(name)
    return f"What {shown} says elsewhere no longer comes here. To undo it, type: {command(prefix, 'unban', shown)}"


def unbanned(name: str) -> str:
    """The ban is lifted."""
    return f"What {_name(name)} says elsewhere comes here again."


def nobody_called(typed: str) -> str:
    """``ban`` of a name that nobody has used here lately."""
    return (
        f"Nobody elsewhere who was heard here lately, and no connected room, is called “{_name(typed)}”. "
        "Type the name as it is shown here."
    )


def not_banned(prefix: str, typed: str, names: Sequence[str]) -> str:
    """``unban`` of a name that is not banned; with those that are."""
    if not names:
        return "Nobody is banned here."
    return (
        f"“{_name(typed)}” is not banned here. Banned are: {_listed(names)}. "
        f"Type: {command(prefix, 'unban', _name(names[0]))} – or another of these."
    )


# --- notices, said without being asked -----------------------------------------------------------------------


def waiting_long(
    prefix: str, other: str, waiting: int, waiting_s: float, *, others: int = 0, shut_out: bool = False
) -> str:
    """Messages for a room (and others) wait; told in the rooms they came from. ``waiting_s`` 0: they get through, but
    come faster than that. ``shut_out``: the bot's credentials there work no longer.
    """
    rooms = _with_others(other, others)
    if waiting_s:
        how = f"{rooms} {'have' if others else 'has'} not been reached for {duration(waiting_s)}."
    else:
        how = f"{rooms} {'take' if others else 'takes'} fewer messages than come in."
    why = " The bot was shut out there, and whoever runs it has to renew its access." if shut_out else ""
    return (
        f"{how}{why} {_counted(waiting, 'message')} {'waits' if waiting == 1 else 'wait'} and will arrive in order; "
        f"you need not send anything again. To see how it stands: {command(prefix, 'list')}"
    )


def caught_up(other: str, *, others: int = 0, folded: int = 0, posts: int = 0) -> str:
    """What waited has arrived; ``folded`` messages of it in ``posts`` posts."""
    together = f" {_counted(folded, 'message')} came there in {_counted(posts, 'post')}." if folded else ""
    return f"All that waited for {_with_others(other, others)} has arrived there.{together}"


def _with_others(room: str, others: int) -> str:
    return f"{_name(room)} and {_counted(others, 'other room')}" if others else _name(room)


def dead_letter(other: str, author: str, excerpt: str, reason: str) -> str:
    """A message will never arrive; told in the room it came from."""
    said = f": “{_name(excerpt, _EXCERPT_CHARS)}”" if excerpt.strip() else ""
    return (
        f"A message by {_name(author)} did not reach {_name(other)}{said}. Reason: {_name(reason, 200)}. "
        "It was set aside; say it again in another way, or ask the operator."
    )


def dead_letters(other: str, count: int, reason: str) -> str:
    """More messages will never arrive; told in the room they came from."""
    return (
        f"{_counted(count, 'more message')} did not reach {_name(other)}. Reason: {_name(reason, 200)}. "
        f"{'It was' if count == 1 else 'They were'} set aside; ask the operator."
    )


def echo_stopped(prefix: str, author: str, ttl_s: float) -> str:
    """The same text keeps coming back, most likely by another bridge in the room."""
    return (
        f"{_name(author)} keeps repeating the same text, as another bridge does. I do not relay the repeats for "
        f"{duration(ttl_s)}. If it is another bridge, remove one of the two, or type: {command(prefix, 'disable')}."
    )


def too_fast(author: str) -> str:
    """Somebody says more than the operator lets through."""
    return f"{_name(author)} is too fast for me: some of that is not relayed. Say it again more slowly."


def history_gap() -> str:
    """The platform no longer had everything that was said while the bot was away."""
    return "I was away for too long: some of what was said here meanwhile did not reach the other rooms."


def bot_removed(prefix: str, other: str, reason: str = "") -> str:
    """Told in the other rooms: the bot is no longer in ``other``."""
    why = f" ({_name(reason, 200)})" if reason.strip() else ""
    room = _name(other)
    return (
        f"The bot was removed from {room}{why}, so its connection is paused. Invite it there again to go on, "
        f"or end it here: {command(prefix, 'disconnect', room)}"
    )


def bot_back(other: str) -> str:
    """Told in the other rooms: the bot is in ``other`` again."""
    return f"The bot is in {_name(other)} again, and the connection goes on."
