"""Workspace events by Pub/Sub: subscriptions that are made, renewed and ended; events that are confirmed when they are
durable, and not before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bots.googlechat.memory import Memory
from bots.googlechat.receive import Space
from core.contract import Since
from core.model import MessageNew, NativeId, Reaction
from core.store import Redis
from tests.bots.googlechat.support import AT_S, World, world
from tests.fakes.googlechat_model import Failure, Fault

LIFECYCLE = "google.workspace.events.subscription.v1."


def texts(made: World) -> list[str]:
    """What was heard."""
    return [event.text.plain for event in made.events.seen if isinstance(event, MessageNew)]


async def test_everything_is_heard_in_order_and_once(store: Redis) -> None:
    """All that is said comes through Pub/Sub; what is also posted to us is heard once, in its place."""
    async with world(store) as made:
        await made.people.say(made.space, made.ann, "one")
        await made.people.say(made.space, made.ann, f"<{made.double.app}> two")
        await made.people.say(made.space, made.bob, "three")
        await made.of(MessageNew, 3)
        assert texts(made) == ["one", "two", "three"]
        assert made.people.statuses == [200]


async def test_a_command_does_not_wait_for_pubsub(store: Redis) -> None:
    """A command that is posted to us is heard at once; when it comes again it has the same id."""
    async with world(store) as made:
        message = made.people.said(made.space, made.ann, f"<{made.double.app}> -sameroom open")
        await made.people.tell(made.space, message)
        first, second = await made.of(MessageNew, 2)
        assert (first.room, first.native, first.author.id, first.text) == (
            second.room,
            second.native,
            second.author.id,
            second.text,
        )


async def test_without_a_living_subscription_mentions_are_heard(store: Redis) -> None:
    """When the space's subscription has ended, or Pub/Sub cannot be read, what is posted to us is not left to it."""
    async with world(store) as made:
        await made.adapter._memory.unsubscribed(made.space.id)
        made.double.subscriptions.clear()
        await made.people.say(made.space, made.ann, f"<{made.double.app}> hello")
        assert texts(made) == ["hello"]


async def test_events_out_of_order_are_put_in_order(store: Redis) -> None:
    """Pub/Sub promises no order; what comes together is sorted by when it happened."""
    async with world(store) as made:
        made.double.poll_s = 0.05
        await asyncio.sleep(0)
        messages = [made.people.said(made.space, made.ann, f"{n}") for n in range(5)]
        for message in messages:
            made.double.happened(made.space, "message.v1.created", "message", message)
        made.double.queue.reverse()
        await made.of(MessageNew, 5)
        assert texts(made) == [str(n) for n in range(5)]


async def test_confirmed_only_when_durable(store: Redis) -> None:
    """While the store is down nothing is confirmed; the events come again, and are confirmed then."""
    async with world(store) as made:
        made.events.shut = True
        await made.people.say(made.space, made.ann, "hello")
        await made.of(MessageNew, 2)
        assert not [path for _, path, _ in made.double.transcript if path.endswith(":acknowledge")]
        made.events.shut = False
        await made.until(lambda: any(path.endswith(":acknowledge") for _, path, _ in made.double.transcript))
        assert not made.double.queue
        assert len({event.native for event in made.events.seen}) == 1


async def test_what_was_not_confirmed_in_time_comes_again(store: Redis) -> None:
    """A lost confirmation is a second delivery with the same id."""
    async with world(store) as made:
        made.double.faults.append(Fault(":acknowledge", answer=Failure(503, "unavailable")))
        await made.people.say(made.space, made.ann, "hello")
        await made.of(MessageNew)
        made.double.redeliver()
        first, second = await made.of(MessageNew, 2)
        assert first == second


async def test_events_without_the_messages(store: Redis) -> None:
    """Without the messages in the events, each one is read; subscriptions last seven days then."""
    async with world(store, include_resource=False) as made:
        subscription = next(iter(made.double.subscriptions.values()))
        assert subscription["payloadOptions"] == {"includeResource": False}
        known = made.adapter._memory.subscriptions[made.space.id]
        assert (known.ends_ms - AT_S * 1000) / 86_400_000 == pytest.approx(7, abs=0.01)
        await made.people.say(made.space, made.ann, "hello **there**", "hello there")
        said = (await made.of(MessageNew))[0]
        assert (said.text.plain, said.text.entities[0].type, said.author.name) == ("hello there", "bold", "Ann")


async def test_subscriptions_are_renewed(store: Redis) -> None:
    """Half way to its end a subscription is renewed; when Google says that it ends, at once."""
    async with world(store) as made:
        name = next(iter(made.double.subscriptions))
        for what in ("expirationReminder", "suspended"):
            if what == "suspended":
                made.double.subscriptions[name]["state"] = "SUSPENDED"
            before = len(made.double.transcript)
            data = {"subscription": {"name": name, "suspensionReason": "ENDPOINT_PERMISSION_DENIED"}}
            made.double.publish(LIFECYCLE + what, f"//workspaceevents.googleapis.com/{name}", data)
            await made.until(
                lambda start=before: ("PATCH", f"/v1/{name}") in [e[:2] for e in made.double.transcript[start:]]  # type: ignore[misc]
            )
        await made.until(lambda: made.double.subscriptions[name]["state"] == "ACTIVE")
        renewed = made.adapter._memory
        await made.until(lambda: renewed.subscriptions[made.space.id].renew_ms > AT_S * 1000)
        assert renewed.subscriptions[made.space.id].renew_ms == pytest.approx(AT_S * 1000 + 2 * 3_600_000, abs=60_000)


async def test_a_subscription_that_ended_is_made_again(store: Redis) -> None:
    """Google deletes what has expired; we subscribe anew, and hear on."""
    async with world(store) as made:
        name = next(iter(made.double.subscriptions))
        made.double.subscriptions.clear()
        made.double.publish(LIFECYCLE + "expired", "//x", {"subscription": {"name": name}})
        await made.until(lambda: bool(made.double.subscriptions))
        await made.people.say(made.space, made.ann, "hello")
        await made.of(MessageNew)


async def test_a_gap_makes_the_host_look_back(store: Redis) -> None:
    """When a subscription had to be made anew, the account goes off and on, so that its history is read."""
    async with world(store) as made:
        await made.until(lambda: made.events.is_online and len(made.events.reasons) == 1)
        made.double.subscriptions.clear()
        await made.adapter._memory.unsubscribed(made.space.id)
        made.adapter._upkeep.changed()
        await made.until(lambda: len(made.events.reasons) == 2 and made.events.is_online)
        assert "while a space had no subscription" in made.events.reasons[-1]


async def test_a_new_name_is_noticed_by_any_process(store: Redis) -> None:
    """A process that only serves the routes knows the space's old name from the store."""
    async with world(store) as made:
        other = Memory(made.adapter._services)
        before = await other.learn(Space("AAQAgarden", "Orchard", threads=True))
        assert before is not None
        assert before.title == "Garden"


async def test_a_subscription_of_ours_that_stands_is_taken_over(store: Redis) -> None:
    """After a lost store Google still has the subscription: it is renewed and not doubled."""
    async with world(store) as made:
        await made.adapter._memory.unsubscribed(made.space.id)
        made.adapter._upkeep.changed()
        await made.until(lambda: made.space.id in made.adapter._memory.subscriptions)
        assert len(made.double.subscriptions) == 1


async def test_coming_and_going_of_spaces(store: Redis) -> None:
    """A new space is subscribed to as soon as the app is in it; when it is put out, the subscription is ended."""
    async with world(store) as made:
        shed = made.people.space("AAQAshed", "Shed", made.bob)
        await made.people.add_app(shed, made.bob)
        await made.until(lambda: len(made.double.subscriptions) == 2)
        await made.people.say(shed, made.bob, "in the shed")
        await made.of(MessageNew)
        await made.people.remove_app(shed, made.bob)
        await made.until(lambda: len(made.double.subscriptions) == 1)
        assert [info.title for info in await made.adapter.rooms()] == ["Garden"]


async def test_a_space_is_told_once_what_is_not_heard(store: Redis) -> None:
    """Without Pub/Sub a space learns once that only mentions are heard; in a direct message all is."""
    async with world(store, pubsub=False) as made:
        assert len(made.hints) == 1
        assert "I hear only messages that mention me" in made.hints[0]["text"]
        shed = made.people.space("AAQAshed", "Shed", made.bob)
        direct = made.people.space("DMbob", "", made.bob, kind="DIRECT_MESSAGE", threading="UNTHREADED_MESSAGES")
        await made.people.add_app(direct, made.bob)
        await made.people.add_app(shed, made.bob)
        await made.until(lambda: bool(shed.messages))
        await made.people.add_app(shed, made.bob)
        await made.adapter._upkeep.look()
        assert len(shed.messages) == 1
        assert not direct.messages


async def test_approval_that_is_missing(store: Redis) -> None:
    """Where the administrator did not approve, the space is told, mentions are heard, and it is tried again later."""
    async with world(store, started=False) as made:
        made.double.approved = False
        await made.adapter.start(made.events)
        await made.until(lambda: bool(made.space.messages))
        await made.people.say(made.space, made.ann, f"<{made.double.app}> hello")
        assert texts(made) == ["hello"]
        made.double.approved = True
        made.adapter._upkeep._retry_ms.clear()
        made.adapter._upkeep.changed()
        await made.until(lambda: bool(made.double.subscriptions))


async def test_odd_events_do_no_harm(store: Redis) -> None:
    """What is no event is confirmed and forgotten."""
    async with world(store) as made:
        odd: list[Any] = [{}, {"attributes": {"ce-type": "google.workspace.chat.message.v1.created"}, "data": "!!"}]
        odd += [{"attributes": {"ce-type": "google.workspace.chat.message.v1.batchCreated"}, "data": "bnVsbA=="}]
        odd += [{"attributes": 7, "data": 7}]
        made.double.queue += odd
        await made.people.say(made.space, made.ann, "after them")
        await made.of(MessageNew)
        await made.until(lambda: not made.double.leased)


async def test_reactions_twice_are_two(store: Redis) -> None:
    """The same emoji on, off and on again are three events."""
    async with world(store) as made:
        native = await made.people.say(made.space, made.ann, "hello")
        for added in (True, False, True):
            made.people.react(made.space, native, made.bob, "🌱", added)
        found = await made.of(Reaction, 3)
        assert len({event.native for event in found}) == 3
        assert [event.added for event in found] == [True, False, True]


async def test_history_in_pages(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long gap is read page by page, without our own posts; with history off, what is older than a day is lost."""
    monkeypatch.setattr("bots.googlechat.adapter.PAGE", 10)
    async with world(store) as made:
        made.double.subscriptions.clear()
        for number in range(25):
            made.people.said(made.space, made.ann, f"{number}")
            if number % 5 == 0:
                await made.adapter.send(made.post(f"ours {number}", f"k{number}"))
        since, found, more = Since(NativeId("x.x"), int(AT_S * 1000)), [], True
        while more:
            page = await made.adapter.history(made.room, since)
            found += [event for event in page.events if isinstance(event, MessageNew)]
            more, since = page.more, Since(found[-1].native, found[-1].at_ms)
            assert page.complete
        assert list(dict.fromkeys(event.text.plain for event in found)) == [str(n) for n in range(25)]
        made.space.history = "HISTORY_OFF"
        await made.adapter._look_around()
        old = await made.adapter.history(made.room, Since(NativeId("x.x"), int((AT_S - 90_000) * 1000)))
        assert not old.complete


async def test_no_history_where_only_mentions_are_heard(store: Redis) -> None:
    """What people did not say to the app is not fetched behind their backs."""
    async with world(store, pubsub=False) as made:
        made.people.said(made.space, made.ann, "not for the app")
        found = await made.adapter.history(made.room, Since(NativeId("x.x"), 0))
        assert (found.events, found.complete) == ((), True)
