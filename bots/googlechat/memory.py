"""What the account knows of its spaces and people. It is in the store, for every process; what is needed for each
message is in memory as well."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import msgspec

from bots.googlechat.receive import Space
from core.contract import Services

PEOPLE_KEPT: Final = 5_000
PERSON_S: Final = 7 * 86_400
GONE_S: Final = 86_400
PULLING_S: Final = 300
"""Longer than a pull takes to come back with nothing."""


class Person(msgspec.Struct, frozen=True):
    """How somebody is called and looks."""

    name: str
    avatar: str = ""


class Subscription(msgspec.Struct, frozen=True):
    """A space's subscription to Workspace events, and when it is renewed and ends."""

    name: str
    renew_ms: int
    ends_ms: int


class Memory:
    """Of one account."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self.spaces: dict[str, Space] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.me = ""
        """Our own ``users/…``; empty until it is known."""
        self._people: OrderedDict[str, Person] = OrderedDict()

    async def load(self) -> None:
        """Read what other processes, or we before, have written."""
        store: Any = self._store
        spaces = await store.hgetall(self._services.key("spaces"))
        self.spaces = {space.id: space for space in (msgspec.json.decode(raw, type=Space) for raw in spaces.values())}
        found = await store.hgetall(self._services.key("subscriptions"))
        self.subscriptions = {key.decode(): msgspec.json.decode(raw, type=Subscription) for key, raw in found.items()}
        me = await store.get(self._services.key("me"))
        self.me = me.decode() if me else self.me

    async def know_me(self) -> str:
        """Who we are, as far as any process knows."""
        store: Any = self._store
        if not self.me and (raw := await store.get(self._services.key("me"))):
            self.me = raw.decode()
        return self.me

    async def learn_me(self, me: str) -> None:
        """This is who we are."""
        if me != self.me:
            self.me = me
            await self._store.set(self._services.key("me"), me)

    # --- spaces ---

    async def learn(self, space: Space) -> Space | None:
        """Remember a space; returns what was known of it before."""
        store: Any = self._store
        before = self.spaces.get(space.id)
        if before is None and (raw := await store.hget(self._services.key("spaces"), space.id)):
            before = msgspec.json.decode(raw, type=Space)
        if before != space:
            await store.hset(self._services.key("spaces"), space.id, msgspec.json.encode(space))
        self.spaces[space.id] = space
        return before

    async def forget(self, space_id: str) -> None:
        """We are no longer in a space. Its subscription is left for the upkeep to end."""
        self.spaces.pop(space_id, None)
        store: Any = self._store
        await store.hdel(self._services.key("spaces"), space_id)
        await store.srem(self._services.key("hinted"), space_id)

    async def hint_first(self, space_id: str) -> bool:
        """Has nobody told the space yet what we do not hear? It counts as told now."""
        store: Any = self._store
        return bool(await store.sadd(self._services.key("hinted"), space_id))

    # --- subscriptions ---

    async def subscribed(self, space_id: str, subscription: Subscription) -> None:
        """A space has a subscription, until it ends."""
        self.subscriptions[space_id] = subscription
        store: Any = self._store
        await store.hset(self._services.key("subscriptions"), space_id, msgspec.json.encode(subscription))

    async def unsubscribed(self, space_id: str) -> Subscription | None:
        """It has none any more; returns what it had."""
        store: Any = self._store
        await store.hdel(self._services.key("subscriptions"), space_id)
        return self.subscriptions.pop(space_id, None)

    async def pulling(self) -> None:
        """Events come through Pub/Sub, as of now."""
        await self._store.set(self._services.key("pulling"), "1", ex=PULLING_S)

    async def hears_all(self, space_id: str) -> bool:
        """Does everything that is said in the space come through Pub/Sub?"""
        store: Any = self._store
        raw = await store.hget(self._services.key("subscriptions"), space_id)
        if raw is None or msgspec.json.decode(raw, type=Subscription).ends_ms <= self._services.now_ms():
            return False
        return bool(await store.exists(self._services.key("pulling")))

    # --- people ---

    async def learn_person(self, person_id: str, person: Person) -> None:
        """Remember how somebody is called."""
        if self._people.get(person_id) == person:
            return
        self._keep(person_id, person)
        await self._store.set(self._services.key("person", person_id), msgspec.json.encode(person), ex=PERSON_S)

    async def person(self, person_id: str) -> Person | None:
        """How somebody is called, as far as we know."""
        if (known := self._people.get(person_id)) is not None:
            return known
        raw = await self._store.get(self._services.key("person", person_id))
        if raw is None:
            return None
        person = msgspec.json.decode(raw, type=Person)
        self._keep(person_id, person)
        return person

    def _keep(self, person_id: str, person: Person) -> None:
        self._people[person_id] = person
        self._people.move_to_end(person_id)
        if len(self._people) > PEOPLE_KEPT:
            self._people.popitem(last=False)

    # --- our own deletions ---

    async def deleting(self, space_id: str, native: str) -> None:
        """We are about to delete a post of ours, and Google will tell us so."""
        await self._store.set(self._services.key("gone", space_id, native), "1", ex=GONE_S)

    async def deleted_by_us(self, space_id: str, native: str) -> bool:
        """Was it we who deleted the post?"""
        return bool(await self._store.exists(self._services.key("gone", space_id, native)))
