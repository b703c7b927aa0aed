"""The sending side of one connection: pacing, and telling which post was taken, refused, or lost from sight.

A server handles our lines in order. Where it echoes them (echo-message), each echo confirms one line in one
channel and names its id; elsewhere a PING behind the batch confirms all of it, and an error numeric that
comes before the PONG belongs to the batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from bots.irc.channels import Channel, Channels
from bots.irc.compose import Composer, Unit
from bots.irc.connection import Connection
from bots.irc.flood import Bucket
from bots.irc.wire import Line
from bots.irc.words import NOT_IN_CHANNEL, send_error
from core.contract import AdapterError, Offline, Outbound, Receipt, Rejected, Retry, Uncertain
from core.model import NativeId

TAKEN: Final = Receipt()
ECHO_GRACE_S = 1.0
"""How long to wait for the echoes of a batch before asking with a PING whether any are still to come."""
PACE_WITHIN_S = 10.0
"""Posts that flood control would hold back for longer than this go back with Retry."""
RELAY_REFUSED: Final = frozenset({"421", "482", "573"})

Result = Receipt | AdapterError


class Expected(NamedTuple):
    """An echo to come: of the post ``number`` of ``batch``, in the channel ``cf``."""

    batch: Batch
    number: int
    cf: str
    said: str
    relay: bool


class Batch:
    """Posts under way together. ``results`` has None for those whose fate is open."""

    __slots__ = ("done", "errors", "left", "natives", "open", "reached", "results", "sent", "spoken", "token")

    def __init__(self, count: int, done: asyncio.Future[None]) -> None:
        self.results: list[Result | None] = [None] * count
        self.done = done
        self.token = ""
        self.sent: list[Unit] = []
        self.reached = -1
        """Index of the last post that was written, at least in part."""
        self.errors: list[tuple[str, AdapterError]] = []
        """Refusals without an echo to tell whose, by channel."""
        self.open: list[int] = []
        """Echoes still to come, per post."""
        self.left = count
        self.natives: list[list[NativeId]] = []
        self.spoken: list[int] = []
        """Posts whose author's nick was refused: to be sent again with the name in the text."""

    def refuse(self, index: int, error: AdapterError) -> None:
        """The post will not go out, or not again."""
        if self.results[index] is None:
            self.results[index] = error

    def finish(self, otherwise: Result) -> None:
        """Everything open ends as ``otherwise``."""
        self.results = [otherwise if result is None else result for result in self.results]
        if not self.done.done():
            self.done.set_result(None)


class Sender:
    """What is under way on one connection."""

    def __init__(self, connection: Connection, channels: Channels) -> None:
        self._connection = connection
        self._config = connection.config
        self._channels = channels
        self._loop = asyncio.get_running_loop()
        self.composer = Composer(connection, channels)
        self.bucket = Bucket(self._config.rate_lines_per_s, self._config.burst_lines, self._loop.time)
        self._turn = asyncio.Lock()
        self._batches: deque[Batch] = deque()
        self._expected: deque[Expected] = deque()
        self._tokens = 0
        self._pings: dict[str, asyncio.Future[None]] = {}
        self._failures: list[tuple[str, list[Line]]] = []
        self._progress_at_s = 0.0
        self.rejoin: Callable[[Channel], None] = lambda channel: None
        connection.on(self._on_pong, "PONG")
        connection.other = self.on_other

    # --- sending ---

    async def send_stream(self, posts: Sequence[Outbound], *, relay: bool = True) -> list[Result]:
        """One result for each post, when all are known."""
        batch = Batch(len(posts), self._loop.create_future())
        if not self._connection.open:
            batch.finish(Offline(0.5, "the connection is gone"))
            return [TAKEN if result is None else result for result in batch.results]
        units = self.composer.compose(posts, batch.refuse, relay=relay)
        if units:
            if self._connection.features.echoes:
                self._expect(batch, units)
            if self.bucket.rate_per_s:
                async with self._turn:
                    self._batches.append(batch)
                    await self._write_paced(batch, units)
            else:
                self._batches.append(batch)
                self._write(batch, units, "" if batch.open else self._ping_behind(batch))
            self._ask(batch)
            timer = self._loop.call_later(self._config.confirm_timeout_s, self._overdue, batch)
            try:
                await batch.done
            finally:
                timer.cancel()
        else:
            batch.finish(TAKEN)
        if batch.spoken:
            await self._speak_instead(posts, batch)
        return [TAKEN if result is None else result for result in batch.results]

    def _expect(self, batch: Batch, units: list[Unit]) -> None:
        batch.open = [0] * len(batch.results)
        batch.natives = [[] for _ in batch.results]
        for unit in units:
            for _, index in unit.targets:
                batch.open[index] += 1
        batch.left = sum(1 for count in batch.open if count)

    def _write(self, batch: Batch, units: list[Unit], behind: str = "") -> None:
        batch.sent += units
        batch.reached = units[-1].targets[-1][1]
        if batch.open:
            expect = self._expected.append
            for unit in units:
                for channel, index in unit.targets:
                    expect(Expected(batch, index, channel.cf, unit.said, unit.relay))
        self._connection.write("".join([unit.line for unit in units]) + behind)

    async def _write_paced(self, batch: Batch, units: list[Unit]) -> None:
        """Write as flood control allows; what would wait too long goes back."""
        until_s = self._loop.time() + PACE_WITHIN_S
        for number, unit in enumerate(units):
            cost = len(unit.targets)
            while wait_s := self.bucket.wait_s(cost):
                if unit.first and number and self._loop.time() + wait_s > until_s:
                    self._give_back(batch, units[number:], wait_s)
                    return
                await asyncio.sleep(wait_s)
            if not self._connection.open:
                return
            self.bucket.spend(cost)
            self._write(batch, [unit])

    def _give_back(self, batch: Batch, units: list[Unit], wait_s: float) -> None:
        for unit in units:
            for channel, index in unit.targets:
                if batch.results[index] is None:
                    batch.results[index] = Retry(wait_s, f"{channel.name} is paced by flood control.")
                    if batch.open:
                        batch.open[index] = 0
                        batch.left -= 1

    def _ask(self, batch: Batch) -> None:
        """See to it that the batch ends: by its echoes, or by a PING behind it."""
        if not self._connection.open:
            self._abandon(batch, self._connection.reason or "the connection is gone")
        elif batch.open:
            if batch.left <= 0:
                self._close(batch)
            else:
                self._loop.call_later(ECHO_GRACE_S, self._ask_by_ping, batch)
        elif not batch.token:
            self._ask_by_ping(batch)

    def _ask_by_ping(self, batch: Batch) -> None:
        if not batch.done.done() and self._connection.open:
            self._connection.write(self._ping_behind(batch))

    def _ping_behind(self, batch: Batch) -> str:
        batch.token = self._new_token("b")
        self.bucket.spend(1)
        return f"PING {batch.token}\r\n"

    def _new_token(self, kind: str) -> str:
        self._tokens += 1
        return f"{kind}{self._tokens}"

    async def _speak_instead(self, posts: Sequence[Outbound], batch: Batch) -> None:
        """RELAYMSG was refused: say it ourselves, with the name in front."""
        again = [posts[index] for index in batch.spoken]
        for index, result in zip(batch.spoken, await self.send_stream(again, relay=False), strict=True):
            batch.results[index] = result

    # --- what the server answers ---

    def echoed(self, cf: str, said: str, native: str) -> None:
        """The server took a line of ours and shows it to the channel."""
        if not self._expected:
            return
        head = self._expected[0]
        if head.cf == cf and head.said == said:
            self._expected.popleft()
            self._confirm(head, native)
            return
        same_place = [entry for entry in self._expected if entry.cf == cf]
        for entry in [entry for entry in same_place if entry.said == said] or same_place:
            self._expected.remove(entry)
            self._confirm(entry, native)
            return

    def _confirm(self, entry: Expected, native: str) -> None:
        batch, index = entry.batch, entry.number
        self._progress_at_s = self._loop.time()
        if native:
            batch.natives[index].append(NativeId(native))
        batch.open[index] -= 1
        if not batch.open[index]:
            if batch.results[index] is None:
                batch.results[index] = Receipt(tuple(batch.natives[index]))
            batch.left -= 1
            if not batch.left:
                self._close(batch)

    def _close(self, batch: Batch) -> None:
        batch.finish(TAKEN)
        while self._batches and self._batches[0].done.done():
            self._batches.popleft()

    def on_other(self, line: Line) -> None:
        """A line that nobody else takes: is it a refusal?"""
        command = line.command
        if command == "FAIL":
            self._on_fail(line)
        elif len(command) == 3 and command[0] in "45" and len(line.params) > 1:
            if command in RELAY_REFUSED and self._expected and self._expected[0].relay:
                self._refuse_relay()
            elif channel := self._channels.find(line.params[1]):
                error = send_error(command, channel.name, self._connection.nick, line.params[-1])
                if command == "407":
                    self._connection.features.max_targets = 1
                if self._refused(channel.cf, error) and command in NOT_IN_CHANNEL:
                    self.rejoin(channel)

    def _on_fail(self, line: Line) -> None:
        """A standard reply (IRCv3 standard-replies): ``FAIL <command> <code> [context…] :<words>``."""
        command = line.params[0].upper()
        for wanted, failures in self._failures:
            if wanted == command:
                failures.append(line)
        if command == "RELAYMSG" and self._expected and self._expected[0].relay:
            self._refuse_relay()
        elif command in ("PRIVMSG", "*"):
            for word in line.params[2:-1]:
                if channel := self._channels.find(word):
                    self._refused(channel.cf, Rejected(f"{channel.name} does not take it: {line.params[-1]}"))
                    return

    def _refuse_relay(self) -> None:
        entry = self._expected.popleft()
        channel = self._channels.find(entry.cf)
        if channel is not None:
            channel.relaymsg = False
        if entry.number not in entry.batch.spoken:
            entry.batch.spoken.append(entry.number)
        self._confirm(entry, "")

    def _refused(self, cf: str, error: AdapterError) -> bool:
        """Find the post that ``error`` is about; False when there is none."""
        for entry in self._expected:
            if entry.cf == cf:
                self._expected.remove(entry)
                entry.batch.refuse(entry.number, error)
                self._confirm(entry, "")
                return True
        for batch in self._batches:
            if not batch.open and not batch.done.done():
                batch.errors.append((cf, error))
                return True
        return False

    def _on_pong(self, line: Line) -> None:
        token = line.params[-1]
        self._progress_at_s = self._loop.time()
        if ping := self._pings.pop(token, None):
            if not ping.done():
                ping.set_result(None)
            return
        if not any(batch.token == token for batch in self._batches):
            return
        while self._batches:
            batch = self._batches.popleft()
            self._settle(batch)
            if batch.token == token:
                return

    def _settle(self, batch: Batch) -> None:
        """The server has handled all of the batch."""
        if batch.open:
            self._expected = deque(entry for entry in self._expected if entry.batch is not batch)
            batch.finish(Rejected("The server took the message and showed it to nobody: a filter, most likely."))
            return
        self._apply_errors(batch)
        batch.finish(TAKEN)

    def _apply_errors(self, batch: Batch) -> None:
        """What refuses one line mostly refuses all that follow, so the errors belong to the last lines."""
        if not batch.errors:
            return
        for cf in {cf for cf, _ in batch.errors}:
            errors = [error for where, error in batch.errors if where == cf]
            indices = [i for unit in batch.sent for channel, i in unit.targets if channel.cf == cf]
            for index, error in zip(indices[-len(errors) :], errors[-len(indices) :], strict=True):
                batch.refuse(index, error)

    def _overdue(self, batch: Batch) -> None:
        """No confirmation in time. Not while others are being confirmed, nor while we do not read ourselves."""
        waited_s = self._loop.time() - self._progress_at_s
        if batch.done.done():
            return
        if self._connection.held or waited_s < self._config.confirm_timeout_s:
            self._loop.call_later(1.0, self._overdue, batch)
            return
        self._apply_errors(batch)
        batch.finish(Uncertain("The server did not confirm the message in time."))

    def lost(self, reason: str) -> None:
        """The connection is gone: what was not confirmed may or may not have arrived."""
        for batch in self._batches:
            self._abandon(batch, reason)
        self._batches.clear()
        self._expected.clear()
        for ping in self._pings.values():
            if not ping.done():
                ping.set_exception(Offline(0.5, reason))
        self._pings.clear()

    def _abandon(self, batch: Batch, reason: str) -> None:
        self._apply_errors(batch)
        for index in range(batch.reached + 1, len(batch.results)):
            batch.refuse(index, Offline(0.5, reason))
        batch.finish(Uncertain(f"The connection broke before the server confirmed the message ({reason})."))

    # --- single commands ---

    async def ping(self) -> None:
        """A round trip to the server. Raises Offline."""
        if not self._connection.open:
            raise Offline(0.5, "the connection is gone")
        token = self._new_token("p")
        future = self._pings[token] = self._loop.create_future()
        self._connection.write(f"PING {token}\r\n")
        try:
            async with asyncio.timeout(self._config.confirm_timeout_s):
                await future
        except TimeoutError:
            raise Uncertain("The server did not answer in time.") from None
        finally:
            self._pings.pop(token, None)

    async def command(self, written: str) -> list[Line]:
        """Send one line; its FAIL replies, once the server has handled it."""
        failures: list[Line] = []
        entry = (written.partition("@")[2].partition(" ")[2] or written).partition(" ")[0].upper(), failures
        self._failures.append(entry)
        self.bucket.spend(1)
        self._connection.write(written)
        try:
            await self.ping()
        finally:
            self._failures.remove(entry)
        return failures

    def hint(self, line: str) -> bool:
        """Send what may as well not be sent, if flood control has room to spare."""
        if not self._connection.open or self.bucket.wait_s(self._config.burst_lines / 2):
            return False
        self.bucket.spend(1)
        self._connection.write(line)
        return True
