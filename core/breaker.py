"""Notices somebody else's bridge or an echo bot in a room: it says again what was just said elsewhere."""

from __future__ import annotations

from collections import OrderedDict

from core.model import RoomId, SameroomId

REMEMBERED = 4_096


class EchoBreaker:
    """Counts, per author, messages in a row each of which repeats another message said in another room of the same
    sameroom a moment ago. Somebody who repeats one and the same message (a vote, a joke) repeats it once.
    """

    def __init__(self, repeats: int, window_ms: int) -> None:
        self._repeats = repeats
        self._window_ms = window_ms
        self._count = 0
        self._said: OrderedDict[tuple[SameroomId, str], tuple[RoomId, int, int]] = OrderedDict()
        """What was said → where, when, and the how many-th message it was."""
        self._streaks: OrderedDict[tuple[RoomId, str], tuple[int, int, int]] = OrderedDict()
        """Author → repeats in a row, the newest message that was repeated, and when."""

    def is_echo(self, sameroom: SameroomId, room: RoomId, author_id: str, plain: str, now_ms: int) -> bool:
        """Note a message; True when its author has now repeated others ``repeats`` times in a row."""
        author = (room, author_id)
        streak, newest, since_ms = self._streaks.get(author, (0, 0, now_ms)) if self._streaks else (0, 0, now_ms)
        repeated = self._repeated(sameroom, room, plain, now_ms)
        if repeated > newest:
            if now_ms - since_ms > self._window_ms:
                streak = 0
            self._streaks[author] = (streak + 1, repeated, now_ms)
            if len(self._streaks) > REMEMBERED:
                self._streaks.popitem(last=False)
            return streak + 1 >= self._repeats
        if repeated:
            return streak >= self._repeats
        if streak:
            del self._streaks[author]
        self._count += 1
        said = self._said
        said[sameroom, plain] = (room, now_ms, self._count)
        if len(said) > REMEMBERED:
            said.popitem(last=False)
        return False

    def _repeated(self, sameroom: SameroomId, room: RoomId, plain: str, now_ms: int) -> int:
        """The number of the message that this one repeats; 0 if it repeats none."""
        # A bridge puts the author in front, as "name: text" or "<name> text", perhaps twice.
        rest = plain
        for _ in range(3):
            before = self._said.get((sameroom, rest))
            if before and before[0] != room and now_ms - before[1] <= self._window_ms:
                return before[2]
            cut = min((at for at in (rest.find(": "), rest.find("> ")) if at >= 0), default=-1)
            if cut < 0:
                return 0
            rest = rest[cut + 2 :]
        return 0
