"""Every key of the store. What one script touches shares a hash tag, so it stays in one cluster slot.

A *journal* is a durable queue in one slot: a shard's inbox (:func:`shard_tag`) or an account's outbox
(:func:`account_tag`). Its entries have the ids 1, 2, 3 … without gaps.
"""

from __future__ import annotations

from core.model import AccountId, RoomId

PREFIX = "bb:"

META = PREFIX + "meta"
"""Hash: what is fixed when the store is first used (``shards``, ``key_check``)."""
RELAYS = PREFIX + "relays"
"""Sorted set: relay processes that are alive, by the Unix time in ms at which that ends."""
HOSTS = PREFIX + "hosts"
"""Sorted set: bot hosts that are alive, likewise."""
ACCOUNTS = PREFIX + "accounts"
"""Hash: account id → its record. Also the channel on which a change is announced."""


def shard_tag(shard: int) -> str:
    """The key prefix of a shard of the relay."""
    return f"{PREFIX}{{s{shard}}}:"


def account_tag(account: AccountId) -> str:
    """The key prefix of an account."""
    return f"{PREFIX}{{a:{account}}}:"


# Of every journal; ``tag`` is one of the two above.


def stream(tag: str) -> str:
    """Stream: the entries that are not done yet; field ``e`` is the record."""
    return tag + "log"


def seq(tag: str) -> str:
    """Integer: the id of the newest entry ever appended."""
    return tag + "seq"


def lease(tag: str) -> str:
    """String with a life: the process that owns the journal."""
    return tag + "lease"


def epoch(tag: str) -> str:
    """Integer: how often the journal changed hands. A writer with an older epoch is refused."""
    return tag + "epoch"


def sources(tag: str) -> str:
    """Hash: journal → the last of its ordinals that was appended here (the same append twice does it once)."""
    return tag + "from"


def appended_to(tag: str) -> list[str]:
    """All that an append to a journal touches, in the order of the scripts."""
    return [tag + name for name in ("log", "seq", "from", "lease", "epoch", "under_way")]


def batch(tag: str, process: str) -> str:
    """String with a life: the last ingest batch of a process and what came of it."""
    return f"{tag}batch:{process}"


# Of a shard.


def dedup(tag: str) -> str:
    """Prefix of strings with a life: an event that was taken in."""
    return tag + "seen:"


def moved(tag: str) -> str:
    """Hash: room that by its name belongs here → the shard that has it now, or ``*`` while it is on its way."""
    return tag + "moved"


def rooms(tag: str) -> str:
    """Hash: room → its RoomState."""
    return tag + "rooms"


def tubes(tag: str) -> str:
    """Hash: tube id → Tube."""
    return tag + "tubes"


def applied(tag: str) -> str:
    """Integer: the last entry whose change of rooms and tubes is stored."""
    return tag + "applied"


def security_log(tag: str) -> str:
    """Stream: who opened, connected, paused, disabled what, where and when."""
    return tag + "security"


# Of an account.


def birth(tag: str) -> str:
    """String: made up when the outbox was first used, so that its entries' idempotency keys are nobody else's."""
    return tag + "birth"


def ids(tag: str, room: RoomId, bucket: int) -> str:
    """Hash with a life: ``m<message id>`` → record of our posts, ``n<native id>`` → message id, ``f<fold>`` → what
    messages stand together in one post."""
    return f"{tag}ids:{bucket}:{room}"


def under_way(tag: str) -> str:
    """Integer: every outbox entry after it was certainly never sent."""
    return tag + "under_way"


def partly(tag: str) -> str:
    """Hash: ``<entry> <room>`` → 1 for rooms of a waiting entry that have it already."""
    return tag + "partly"


def backlog(tag: str, room: RoomId) -> str:
    """Stream: entries taken out of the outbox because this room is far behind."""
    return f"{tag}backlog:{room}"


def behind(tag: str) -> str:
    """Hash: room that has a backlog → 1."""
    return tag + "behind"


def waiting(tag: str) -> str:
    """Hash: room → messages that wait for it (kept up to about a second)."""
    return tag + "waiting"


def holds(tag: str) -> str:
    """Hash: room (empty: the whole account) → Unix time in ms before which the platform does not want another post."""
    return tag + "holds"


def incidents(tag: str) -> str:
    """Hash: room that was told of a long wait → which rooms that is for (core/notices.py); empty: the account is shut
    out."""
    return tag + "incidents"


def paces(tag: str) -> str:
    """Hash: room (empty: the whole account) → Unix time in ms at which its rate allows a full burst again; ``*`` → 1
    if an owner that ended in order wrote them all."""
    return tag + "paces"


def folds(tag: str) -> str:
    """Hash: room → ``<first entry> <last entry>`` of messages that are posted there as one, before they are."""
    return tag + "folds"


def attempts(tag: str) -> str:
    """Hash: ``<entry> <room>`` → how often handling it crashed."""
    return tag + "attempts"


def dead(tag: str) -> str:
    """Stream: posts that were set aside."""
    return tag + "dead"


def cursors(tag: str) -> str:
    """Hash: room → where its history was read up to."""
    return tag + "cursors"


def held(tag: str, room: RoomId) -> str:
    """Stream: live events that wait until the room's history is read; field ``e`` is the record."""
    return f"{tag}held:{room}"


def holding(tag: str) -> str:
    """Set: rooms that have events held."""
    return tag + "holding"


def adapter(tag: str, *parts: str) -> str:
    """What an adapter keeps for itself."""
    return tag + "x:" + ":".join(parts)


# Of nobody in particular.


def wake_channel(process: str) -> str:
    """Channel: journals of this process that somebody else appended to."""
    return f"{PREFIX}wake:{process}"


def act_reply(act: str) -> str:
    """List with a life: the reply to an act that came through the portal."""
    return f"{PREFIX}{{act:{act}}}"
