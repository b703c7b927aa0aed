"""A chat service that lives in the test's own process, so that it survives every kill and remembers everything.

Adapters (tests/faults/worker.py) speak to it in lines of JSON over a Unix socket. It notes each post in the order in
which it came, and hands over what people said: again and again until it is acknowledged, or once, by its kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import msgspec

WINDOW = 500
"""Events handed over and not yet acknowledged, at most."""

KINDS = ("keyed", "slow", "plain", "stream", "finds")
"""keyed: drops a second post with the same key. slow: the same, and takes few posts. plain: nothing of the kind.
stream: many posts under way, no second delivery of events. finds: can be asked whether a post is there."""
KEYED = ("keyed", "slow")


@dataclass
class Said:
    """A message that somebody said."""

    number: int
    room: str
    text: str
    at_s: float
    handed_s: float = 0.0
    """When it was handed over first; 0: not yet."""
    acked_s: float = 0.0
    """When it was acknowledged; 0: not yet."""


@dataclass
class Post:
    """A post that the service took."""

    at_s: float
    key: str
    text: str


@dataclass
class Account:
    """One account on the service, and whoever is connected as it."""

    name: str
    kind: str
    said: list[Said] = field(default_factory=list)
    waiting: deque[Said] = field(default_factory=deque)
    """Not acknowledged yet, oldest first."""
    in_window: int = 0
    writer: asyncio.StreamWriter | None = None
    down_until_s: float = 0.0
    """When the service can be reached again."""


class Service:
    """The service and its memory."""

    def __init__(self, accounts: dict[str, str], random: Random) -> None:
        self.accounts = {name: Account(name, kind) for name, kind in accounts.items()}
        self.posts: dict[str, list[Post]] = defaultdict(list)
        """Room → what stands there."""
        self.repeats_dropped = 0
        self.busy_until_s: dict[str, float] = {}
        """Room, or account → when it takes posts again; before that it says so."""
        self.revoked: set[str] = set()
        """Accounts whose credentials do not work."""
        self.posted = 0
        self.accepted: Counter[str] = Counter()
        """Room → how much of what was said there was acknowledged."""
        self.changed = asyncio.Event()
        self._random = random
        self._keys: dict[tuple[str, str], int] = {}
        self._refused: dict[str, tuple[int, int]] = {}
        self._server: asyncio.Server | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, path, limit=1 << 20)

    async def stop(self) -> None:
        """Close everything."""
        if self._server:
            self._server.close()
        for task in (*self._connections, *self._answers):
            task.cancel()
        await asyncio.gather(*self._connections, *self._answers, return_exceptions=True)

    # --- what people say

    def say(self, room: str, text: str) -> Said:
        """Somebody says something."""
        account = self.accounts[room.partition("/")[0]]
        said = Said(len(account.said), room, text, time.monotonic())
        account.said.append(said)
        account.waiting.append(said)
        self._hand_over(account)
        return said

    def _hand_over(self, account: Account) -> None:
        if account.writer is None:
            return
        now_s = time.monotonic()
        for said in islice(account.waiting, account.in_window, WINDOW):
            account.in_window += 1
            said.handed_s = said.handed_s or now_s
            self._write(account.writer, {"event": said.number, "room": said.room, "text": said.text})

    def _acked(self, account: Account, number: int) -> None:
        now_s = time.monotonic()
        while account.waiting and account.waiting[0].number <= number:
            said = account.waiting.popleft()
            said.acked_s = now_s
            self.accepted[said.room] += 1
            account.in_window = max(0, account.in_window - 1)
        self._hand_over(account)
        self.changed.set()

    def go_away(self, account_name: str, seconds: float) -> None:
        """Break an account's connection and take no other one for so long."""
        account = self.accounts[account_name]
        account.down_until_s = time.monotonic() + seconds
        if account.writer:
            account.writer.close()
            account.writer = None

    # --- adapters

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        account: Account | None = None
        try:
            while line := await reader.readline():
                message = msgspec.json.decode(line)
                if "hello" in message:
                    account = self.accounts[message["hello"]]
                    if account.down_until_s > time.monotonic():
                        break
                    self._connected(account, writer)
                elif account and "ack" in message:
                    if account.writer is writer:
                        self._acked(account, message["ack"])
                elif account:
                    self._asked(account, message, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            if account and account.writer is writer:
                account.writer = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _connected(self, account: Account, writer: asyncio.StreamWriter) -> None:
        account.writer = writer
        account.in_window = 0
        if account.kind == "stream":
            account.waiting = deque(said for said in account.waiting if not said.handed_s)
        self._hand_over(account)

    def _asked(self, account: Account, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if "find" in message:
            answer: dict[str, Any] = {"answer": message["find"], "native": self._find(account, message["key"])}
        elif account.name in self.revoked:
            answer = {"answer": message["send"], "revoked": True}
        elif (busy_s := self.busy_until_s.get(account.name, 0.0) - time.monotonic()) > 0:
            answer = {"answer": message["send"], "retry": busy_s, "whole_account": True}
        elif self._is_busy(message, writer):
            answer = {"answer": message["send"], "retry": 0.1}
        else:
            answer = {"answer": message["send"], "native": self._post(account, message)}
        if account.kind == "stream" or self._random.random() < 0.8:
            self._write(writer, answer)
            return
        task = asyncio.create_task(self._answer_later(writer, answer))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def _is_busy(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        # Once it has refused a post of a batch it refuses the rest: a stream keeps its order.
        room, batch = message["room"], (id(writer), message["batch"])
        busy = self.busy_until_s.get(room, 0.0) > time.monotonic() or self._refused.get(room) == batch
        if busy:
            self._refused[room] = batch
        return busy

    async def _answer_later(self, writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
        await asyncio.sleep(self._random.random() * 0.01)
        self._write(writer, answer)

    def _find(self, account: Account, key: str) -> str:
        found = self._keys.get((account.name, key))
        return "" if found is None else f"p{found}"

    def _post(self, account: Account, message: dict[str, Any]) -> str:
        key = (account.name, message["key"])
        if key in self._keys and account.kind in KEYED:
            self.repeats_dropped += 1
            return f"p{self._keys[key]}"
        number = self._keys[key] = len(self._keys)
        self.posts[message["room"]].append(Post(time.monotonic(), message["key"], message["text"]))
        self.posted += 1
        self.changed.set()
        return f"p{number}"

    def _write(self, writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        if not writer.is_closing():
            writer.write(msgspec.json.encode(message) + b"\n")

    # --- looking on

    def texts(self, room: str) -> list[str]:
        """What stands in a room, in order."""
        return [post.text for post in self.posts[room]]

    def kind(self, room: str) -> str:
        """The kind of a room's account."""
        return self.accounts[room.partition("/")[0]].kind

    async def until(self, condition: Any, timeout_s: float, what: str) -> None:
        """Return when ``condition()`` holds. Raises AssertionError."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"not in {timeout_s} s: {what}") from None
