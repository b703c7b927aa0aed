"""Notices somebody else's bridge or an echo bot in a room: it says again what was just said elsewhere."""

from __future__ import annotations

from collections import OrderedDict

from core.model import RoomId

REMEMBERED = 4_096


class EchoBreaker:
    """Counts, per author, messages in a row that repeat what was said in another room a moment ago."""

    def __init__(self, repeats: int, window_ms: int) -> None:
        self._repeats = repeats
        self._window_ms = window_ms
        self._said: OrderedDict[str, tuple[RoomId, str, int]] = OrderedDict()
        self._streaks: OrderedDict[tuple[RoomId, str], int] = OrderedDict()

    def is_echo(self, room: RoomId, author_id: str, plain: str, now_ms: int) -> bool:
        """Note a message; True when its author has now repeated others ``repeats`` times in a row."""
        if self._repeats_another_room(room, author_id, plain, now_ms):
            streak = self._streaks[(room, author_id)] = self._streaks.get((room, author_id), 0) + 1
            if len(self._streaks) > REMEMBERED:
                self._streaks.popitem(last=False)
            return streak >= self._repeats
        if self._streaks:
            self._streaks.pop((room, author_id), None)
        self._said[plain] = (room, author_id, now_ms)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return False

    def _repeats_another_room(self, room: RoomId, author_id: str, plain: str, now_ms: int) -> bool:
        # A bridge puts the author in front, as "name: text" or "<name> text", perhaps twice.
        said = self._said
        rest = plain
        for _ in range(3):
            before = said.get(rest)
            if before and before[0] != room and now_ms - before[2] <= self._window_ms:
                return True
            cut = min((at for at in (rest.find(": "), rest.find("> ")) if at >= 0), default=-1)
            if cut < 0:
                return False
            rest = rest[cut + 2 :]
        return False
