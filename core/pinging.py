"""``-sameroom ping``: asks every connected room for an answer and says how long each took."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core import replies
from core.gate import Gate
from core.model import AccountId, AuthorStyle, RoomId, account_of
from core.wire import Delivery, Pong, Tell

if TYPE_CHECKING:
    from core.commander import Asked

PATIENCE_S = 5.0


@dataclass
class Ping:
    """A ping under way. It lives in memory only: after a restart one types it again."""

    room: RoomId
    waiting: dict[RoomId, str]
    """Room that has not answered → its label."""
    started_s: float
    results: list[replies.PingLine] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class Pinger:
    """The pings of one shard."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._pings: dict[str, Ping] = {}

    def start(self, asked: Asked, labels: dict[RoomId, str]) -> None:
        """Ask every room of ``labels``; the answer comes when all have answered, or after PATIENCE_S."""
        ping_id = f"{asked.room}\n{asked.step.entry}"
        asked.step.reply(asked.act, replies.ping_asked(len(labels)))
        ping = self._pings[ping_id] = Ping(asked.room, dict(labels), time.monotonic())
        ping.timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._finish, ping_id)
        by_account: dict[AccountId, list[RoomId]] = {}
        for room in labels:
            by_account.setdefault(account_of(room), []).append(room)
        for account, rooms in by_account.items():
            style: AuthorStyle = "plain"
            asked.step.out.deliver(
                account, Delivery("ping", tuple(rooms), (style,) * len(rooms), at_ms=asked.step.now_ms, ping=ping_id)
            )

    def answered(self, pong: Pong) -> None:
        """A room has answered."""
        ping = self._pings.get(pong.ping)
        if ping and (label := ping.waiting.pop(pong.answered, None)):
            took_ms = (time.monotonic() - ping.started_s) * 1000
            ping.results.append(replies.PingLine(label, None if pong.error else took_ms, pong.error))
            if not ping.waiting:
                self._finish(pong.ping)

    def _finish(self, ping_id: str) -> None:
        ping = self._pings.pop(ping_id, None)
        if ping is None:
            return
        if ping.timer:
            ping.timer.cancel()
        silent = [replies.PingLine(label) for label in ping.waiting.values()]
        self._gate.put(Tell(ping.room, replies.ping_results(ping.results + silent)), dedup="")

    def stop(self) -> None:
        """Forget all pings."""
        for ping in self._pings.values():
            if ping.timer:
                ping.timer.cancel()
        self._pings.clear()
