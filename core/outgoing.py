"""What handling one inbox entry brings about: records for other journals, and changes of rooms and tubes."""

from __future__ import annotations

from typing import Any

from core import keys
from core.model import AccountId, AuthorStyle, RoomId, Text, account_of
from core.wire import (
    ORDINALS_PER_ENTRY,
    DeadLetter,
    Delivery,
    HandOver,
    Incoming,
    RoomState,
    SecurityRecord,
    Tube,
    encode,
)


class Outgoing:
    """Records to be appended to other journals, each with an ordinal that says which entry it came from."""

    def __init__(self) -> None:
        self.by_tag: dict[str, list[tuple[int, bytes, Any]]] = {}
        self._tags: dict[AccountId, str] = {}
        self._first = 0

    def begin(self, entry: int, first: int = 0) -> None:
        """What follows comes from this inbox entry, and is at least its ``first``-th record."""
        self._first = entry * ORDINALS_PER_ENTRY + first

    def forget(self, entry: int) -> None:
        """Take back what comes from this entry, the newest."""
        for tag, records in list(self.by_tag.items()):
            self.by_tag[tag] = [record for record in records if record[0] < entry * ORDINALS_PER_ENTRY]
            if not self.by_tag[tag]:
                del self.by_tag[tag]

    def deliver(self, account: AccountId, delivery: Delivery) -> None:
        """Append to an account's outbox."""
        tag = self._tags.get(account)
        if tag is None:
            tag = self._tags[account] = keys.account_tag(account)
        self._add(tag, delivery)

    def forward(self, shard: int, record: Incoming) -> None:
        """Append to a shard's inbox."""
        self._add(keys.shard_tag(shard), record)

    def tell(self, text: str, *rooms: RoomId) -> None:
        """Say something as the bot itself."""
        by_account: dict[AccountId, list[RoomId]] = {}
        for room in rooms:
            by_account.setdefault(account_of(room), []).append(room)
        style: AuthorStyle = "plain"
        for account, there in by_account.items():
            self.deliver(account, Delivery("tell", tuple(there), (style,) * len(there), text=Text(text)))

    def _add(self, tag: str, record: Any) -> None:
        # Counted per destination, so that an entry has plenty however many rooms hear it.
        records = self.by_tag.get(tag)
        if records is None:
            self.by_tag[tag] = [(self._first, encode(record), record)]
        else:
            records.append((max(self._first, records[-1][0] + 1), encode(record), record))


class Change:
    """A change of a shard's rooms and tubes, stored in one step (``apply.lua``)."""

    def __init__(self) -> None:
        self.rooms: dict[RoomId, RoomState | None] = {}
        self.tubes: dict[str, Tube | None] = {}
        self.moved: dict[RoomId, str | None] = {}
        self.log: list[SecurityRecord] = []
        self.barrier: HandOver | None = None
        """Appended to the shard's own inbox in the same step."""
        self.letter: DeadLetter | None = None
        """The entry, if it is set aside in the same step."""

    def __bool__(self) -> bool:
        return bool(self.rooms or self.tubes or self.moved or self.log or self.barrier or self.letter)

    def operations(self) -> list[Any]:
        """The change as arguments of the script."""
        args: list[Any] = []
        for room, state in self.rooms.items():
            args += ("set", "rooms", room, encode(state)) if state else ("del", "rooms", room)
        for tube_id, tube in self.tubes.items():
            args += ("set", "tubes", tube_id, encode(tube)) if tube else ("del", "tubes", tube_id)
        for room, where in self.moved.items():
            args += ("set", "moved", room, where) if where else ("del", "moved", room)
        for record in self.log:
            args += ("log", encode(record))
        if self.barrier:
            args += ("barrier", encode(self.barrier))
        if self.letter:
            args += ("dead", encode(self.letter))
        return args
