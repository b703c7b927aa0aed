"""Counts what became of every message: lost, twice, out of order, or out of nowhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from tests.faults.service import Service

PROBLEMS = ("lost", "out_of_order", "phantom", "leftovers", "crashes")


@dataclass
class Report:
    """The figures of one trial; the lists hold a few examples each."""

    accepted: int = 0
    delivered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    """What was killed → how often."""
    lost: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    """Room → posts that stand there once too often."""
    repeats_dropped: int = 0
    leftovers: list[str] = field(default_factory=list)
    """Keys of the store that should be empty by now."""
    crashes: list[str] = field(default_factory=list)
    """Processes that ended by themselves."""

    def __str__(self) -> str:
        lines = [
            f"accepted {self.accepted}, delivered {self.delivered}, kills {self.kills.total()}, "
            f"faults {self.faults.total()}, "
            f"lost {len(self.lost)}, out of order {len(self.out_of_order)}, phantom {len(self.phantom)}, "
            f"twice {sum(self.duplicates.values())} {dict(self.duplicates) or ''}, "
            f"repeats that a keyed service dropped {self.repeats_dropped}"
        ]
        for name in PROBLEMS:
            examples: list[str] = getattr(self, name)
            lines += [f"  {name}: {example}" for example in examples[:8]]
        return "\n".join(lines)


def hears(samerooms: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """Room → the rooms that hear it."""
    return {room: set(rooms) - {room} for rooms in samerooms for room in rooms}


def count(service: Service, samerooms: Sequence[Sequence[str]], prefix: str) -> Report:
    """Compare what was said (texts that begin with ``prefix``) with what stands in the rooms."""
    report = Report(repeats_dropped=service.repeats_dropped)
    audience = hears(samerooms)
    posts = {room: _posts(service, room, prefix) for room in audience}
    heard = {room: [text for post in there for text in post] for room, there in posts.items()}
    said: dict[str, list[str]] = {room: [] for room in audience}
    must: set[str] = set()
    for account in service.accounts.values():
        for message in account.said:
            if message.text.startswith(prefix):
                said[message.room].append(message.text)
                if message.acked_s:
                    must.add(message.text)
    report.accepted = len(must)
    origin = {text: room for room, texts in said.items() for text in texts}
    for room, texts in heard.items():
        _check_room(report, room, texts, origin, must, audience)
        if twice := _posts_twice(posts[room]):
            report.duplicates[room] = twice
    for rooms in samerooms:
        _check_one_order(report, {room: [t for t in dict.fromkeys(heard[room]) if t in must] for room in rooms})
    return report


def words(text: str) -> str:
    """A message as it was said, without the author's name in front."""
    return text.rpartition(": ")[2]


def _check_room(
    report: Report,
    room: str,
    texts: list[str],
    origin: Mapping[str, str],
    must: set[str],
    audience: Mapping[str, set[str]],
) -> None:
    report.delivered += len(texts)
    times = set(texts)
    for text in times:
        if text not in origin or room not in audience[origin[text]]:
            report.phantom.append(f"{text} in {room}")
    for text in must:
        if room in audience[origin[text]] and text not in times:
            report.lost.append(f"{text} in {room}")
    last: dict[str, int] = {}
    for text in dict.fromkeys(texts):
        if text not in must:
            # Handed over once, to a process that froze before it could say that it was accepted: the promise is about
            # the order of acceptance, and this one's was when the process woke up.
            continue
        source, _, number = text.rpartition(" ")
        if int(number) < last.get(source, -1):
            report.out_of_order.append(f"{text} in {room}, after {last[source]}")
        last[source] = int(number)


def _posts(service: Service, room: str, prefix: str) -> list[list[str]]:
    """What was said in each post of a room: one message, or several that were posted together."""
    found = [[words(line) for line in post.splitlines() if prefix in line] for post in service.texts(room)]
    return [said for said in found if said]


def _posts_twice(posts: Iterable[Sequence[str]]) -> int:
    """A post that stands there again counts once, whatever it is made of; else each message that does."""
    seen: set[str] = set()
    twice = 0
    for said in posts:
        again = sum(text in seen for text in said)
        twice += 1 if again == len(said) else again
        seen.update(said)
    return twice


def _check_one_order(report: Report, heard: Mapping[str, list[str]]) -> None:
    """Rooms of one sameroom that heard the same messages heard them in the same order."""
    for a, b in combinations(heard, 2):
        common = set(heard[a]) & set(heard[b])
        in_a, in_b = ([text for text in heard[room] if text in common] for room in (a, b))
        if in_a != in_b:
            first = next(i for i, (x, y) in enumerate(zip(in_a, in_b, strict=True)) if x != y)
            report.out_of_order.append(f"{a} heard {in_a[first]!r} where {b} heard {in_b[first]!r}")
