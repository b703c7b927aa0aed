"""The gateway: sessions that begin, break and go on; what is heard, in order, and never our own posts."""

from __future__ import annotations

import asyncio

import pytest

from core.contract import AuthLost, Since
from core.model import BotAdded, BotRemoved, MessageDeleted, MessageEdited, MessageNew, NativeId, Reaction, RoomRenamed
from tests.bots.discord.support import ZOE, Bench
from tests.fakes.discord import Fault


async def test_a_session_is_resumed(dc: Bench) -> None:
    """What is said while the connection is broken comes when it is back, once and in order."""
    await dc.start()
    dc.double.say(dc.garden, dc.ann, "one")
    await dc.said("one")
    await dc.double.drop(4000)
    for text in ("two", "three"):
        dc.double.say(dc.garden, dc.ann, text)
    await dc.said("three")
    dc.double.say(dc.garden, dc.ann, "four")
    await dc.said("four")
    assert dc.texts() == ["one", "two", "three", "four"]
    assert dc.double.identified == 1
    assert len(dc.double.resumed) == 1
    await dc.until(lambda: dc.relay.is_online)


@pytest.mark.parametrize("code", [4000, 4008, 1001])
async def test_close_codes_that_a_session_survives(dc: Bench, code: int) -> None:
    """Most closings are mended by resuming."""
    await dc.start()
    await dc.double.drop(code)
    await dc.double.until(lambda: dc.double.resumed)
    assert dc.double.identified == 1


@pytest.mark.parametrize("code", [4007, 4009])
async def test_close_codes_that_end_a_session(dc: Bench, code: int) -> None:
    """After these a new session begins, and the account is online again."""
    await dc.start()
    await dc.double.drop(code)
    await dc.double.until(lambda: dc.double.identified == 2)
    await dc.until(lambda: dc.relay.is_online)
    assert not dc.double.resumed


async def test_reconnect_is_obeyed(dc: Bench) -> None:
    """Operation 7: the session is resumed, with a close code that keeps it."""
    await dc.start()
    await dc.double.tell_op(7)
    await dc.double.until(lambda: dc.double.resumed)
    assert dc.double.closed[0] not in (1000, 1001)


@pytest.mark.parametrize(("resumable", "identified"), [(True, 1), (False, 2)])
async def test_an_invalid_session(dc: Bench, resumable: bool, identified: int) -> None:
    """Operation 9 says itself whether the session can be resumed."""
    await dc.start()
    await dc.double.tell_op(9, resumable)
    await dc.double.until(lambda: dc.double.resumed or dc.double.identified == 2)
    assert dc.double.identified == identified


async def test_a_session_that_discord_has_forgotten(dc: Bench) -> None:
    """A resume that is refused becomes a new session."""
    await dc.start()
    await dc.double.drop(4000)
    dc.double.forget_sessions()
    await dc.double.until(lambda: dc.double.identified == 2)
    await dc.until(lambda: dc.relay.is_online)


async def test_heartbeats_are_sent_and_asked_for(dc: Bench) -> None:
    """They come by themselves, and at once when Discord asks."""
    dc.double.beat_ms = 60
    await dc.start()
    await dc.double.until(lambda: dc.double.beats >= 3)
    dc.double.beat_ms = 60_000
    await dc.double.drop(4000)
    await dc.double.until(lambda: dc.double.resumed)
    before = dc.double.beats
    await dc.double.tell_op(1)
    await dc.double.until(lambda: dc.double.beats > before)
    assert dc.double.identified == 1


async def test_a_dead_connection_is_noticed(dc: Bench) -> None:
    """When heartbeats are not answered, the connection is made anew and the session resumed."""
    dc.double.beat_ms = 80
    await dc.start()
    dc.double.deaf = True
    await dc.double.until(lambda: dc.double.closed)
    dc.double.deaf = False
    await dc.double.until(lambda: dc.double.resumed)


async def test_the_store_being_down_loses_nothing(dc: Bench) -> None:
    """What the relay could not take is asked for again."""
    await dc.start()
    dc.relay.down = True
    dc.double.say(dc.garden, dc.ann, "important")
    await dc.until(lambda: not dc.relay.is_online)
    dc.relay.down = False
    dc.relay.seen.clear()
    assert (await dc.said("important")).author.name == "Ann"


@pytest.mark.parametrize(
    ("code", "words"), [(4014, "Message Content Intent"), (4013, "intents"), (4011, "sharding"), (4012, "Update")]
)
async def test_hopeless_close_codes_are_explained(dc: Bench, code: int, words: str) -> None:
    """The operator is told what to do, and Discord is not asked again and again."""
    dc.double.refuse_with = code
    dc.adapter = dc.make()
    await dc.adapter.start(dc.relay)
    await dc.until(lambda: dc.relay.reasons)
    assert words in dc.relay.reasons[0]
    assert dc.double.identified == 1


async def test_the_intent_is_off(dc: Bench) -> None:
    """Discord closes with 4014, and the reason says where the switch is."""
    dc.double.content_allowed = False
    dc.adapter = dc.make()
    await dc.adapter.start(dc.relay)
    await dc.until(lambda: dc.relay.reasons)
    assert "discord.com/developers/applications" in dc.relay.reasons[0]


async def test_a_bad_token(dc: Bench) -> None:
    """Posts fail with AuthLost, whichever side says so first."""
    await dc.start()
    dc.double.token = "other"
    await dc.double.drop(4000)
    await dc.until(lambda: any("Reset Token" in reason for reason in dc.relay.reasons))
    with pytest.raises(AuthLost):
        await dc.adapter.send(dc.out("hello"))


async def test_no_connections_left_today(dc: Bench) -> None:
    """A bot that connects too often gets a new token from Discord: it waits instead."""
    dc.double.starts_left = 0
    dc.adapter = dc.make()
    await dc.adapter.start(dc.relay)
    await dc.until(lambda: dc.relay.reasons)
    assert "today" in dc.relay.reasons[0]
    assert dc.double.identified == 0


async def test_our_own_doings_are_no_news(dc: Bench) -> None:
    """Posts by webhook and as the bot, edits, deletions and reactions of ours never come back."""
    await dc.start()
    hook = await dc.adapter.send(dc.out("by webhook"))
    own = await dc.adapter.send(dc.out("by the bot", author=None))
    for receipt, author in ((hook, ZOE), (own, None)):
        await dc.adapter.edit(receipt.natives, dc.out("edited", author=author))
        await dc.adapter.react(dc.room, receipt.natives[0], "👍", True, ZOE)
        await dc.adapter.react(dc.room, receipt.natives[0], "👍", False, ZOE)
        await dc.adapter.delete(dc.room, receipt.natives)
    await dc.adapter.typing(dc.room, ZOE)
    dc.double.say(dc.garden, dc.ann, "the end")
    await dc.said("the end")
    assert [type(event) for event in dc.relay.seen if not isinstance(event, BotAdded)] == [MessageNew]


async def test_our_own_posts_are_known_after_a_restart(dc: Bench) -> None:
    """What came from our webhook before is not taken for somebody's words: not live, and not in the history."""
    await dc.start()
    said = dc.double.say(dc.garden, dc.ann, "first")
    event = await dc.said("first")
    await dc.adapter.send(dc.out("ours"))
    await dc.stop()
    theirs = dc.double.say(dc.garden, dc.bob, "second")
    await dc.start()
    found = await dc.adapter.history(dc.room, Since(event.native, event.at_ms))
    assert [e.native for e in found.events] == [theirs["id"]]
    assert said["id"] == event.native


async def test_a_long_history(dc: Bench) -> None:
    """It is read in pages; a page that holds nothing but our own posts does not end it."""
    await dc.start()
    since = dc.double.say(dc.garden, dc.ann, "start")
    for number in range(150):
        dc.double.say(dc.garden, dc.double.bot, f"ours {number}")
    for number in range(120):
        dc.double.say(dc.garden, dc.ann, f"theirs {number}")
    texts: list[str] = []
    position, more = Since(NativeId(since["id"]), 0), True
    while more:
        found = await dc.adapter.history(dc.room, position)
        texts += [event.text.plain for event in found.events]
        more = found.more
        if more:
            position = Since(found.events[-1].native, found.events[-1].at_ms)
    assert texts == [f"theirs {number}" for number in range(120)]


async def test_history_of_threads(dc: Bench) -> None:
    """What was said in threads is read with the rest, in its order, page by page; quiet threads are not asked for."""
    root = dc.double.say(dc.garden, dc.ann, "root")
    quiet = dc.double.say(dc.garden, dc.ann, "quiet")
    dc.double.say(dc.double.thread(dc.guild, dc.garden, quiet["id"]), dc.ann, "long ago")
    since = dc.double.say(dc.garden, dc.ann, "start")
    thread = dc.double.thread(dc.guild, dc.garden, root["id"])
    for number in range(130):
        dc.double.say(dc.garden if number % 4 else thread, dc.ann, f"line {number}")
    await dc.start()
    dc.double.transcript.clear()
    events: list[MessageNew] = []
    position, more = Since(NativeId(since["id"]), 0), True
    while more:
        found = await dc.adapter.history(dc.room, position)
        events += [event for event in found.events if isinstance(event, MessageNew)]
        position, more = Since(events[-1].native, events[-1].at_ms), found.more
    assert [event.text.plain for event in events] == [f"line {number}" for number in range(130)]
    assert {event.thread for event in events} == {"", root["id"]}
    assert all(event.native.startswith(f"{root['id']}/") == bool(event.thread) for event in events)
    assert not dc.asked("GET", f"/channels/{quiet['id']}/messages")


async def test_history_that_may_not_be_read(dc: Bench) -> None:
    """Without Read Message History nothing of it is there, and that is said."""
    dc.double.overwrite(dc.guild, dc.garden, dc.double.bot["id"], deny=1 << 16)
    await dc.start()
    found = await dc.adapter.history(dc.room, Since(NativeId("1"), 0))
    assert (found.events, found.complete) == ((), False)


async def test_redelivered_events_have_the_same_ids(dc: Bench) -> None:
    """Whatever comes twice has the id it had before, so that the relay takes it once."""
    await dc.start()
    message = dc.double.say(dc.garden, dc.ann, "teh")
    dc.double.edit(message, "the")
    dc.double.react(message, dc.bob, "👍")
    dc.double.react(message, dc.bob, "👍", False)
    dc.double.react(message, dc.bob, "👍")
    dc.double.delete(message)
    await dc.heard(MessageDeleted)
    before = [event.native for event in dc.relay.seen if not isinstance(event, BotAdded)]
    assert len(set(before)) == 6
    dc.relay.seen.clear()
    dc.double.redeliver(6)
    await dc.heard(MessageDeleted)
    assert [event.native for event in dc.relay.seen] == before


async def test_previews_and_pins_are_no_edits(dc: Bench) -> None:
    """Only what has a new edit time is an edit; a preview after it repeats its id."""
    await dc.start()
    message = dc.double.say(dc.garden, dc.ann, "https://example.org")
    dc.double.unfurl(message)
    dc.double.edit(message, "https://example.org !")
    dc.double.unfurl(message)
    dc.double.say(dc.garden, dc.ann, "end")
    await dc.said("end")
    edits = [event for event in dc.relay.seen if isinstance(event, MessageEdited)]
    assert len({event.native for event in edits}) == 1


async def test_a_moderator_deletes_our_post(dc: Bench) -> None:
    """That is news: nobody of us did it."""
    await dc.start()
    receipt = await dc.adapter.send(dc.out("rude words"))
    dc.double.delete(dc.posts()[0])
    assert (await dc.heard(MessageDeleted)).target == receipt.natives[0]


async def test_an_unknown_thread_is_asked_for(dc: Bench) -> None:
    """A thread that was archived, and so not told of, belongs to its channel all the same."""
    root = dc.double.say(dc.garden, dc.ann, "root")
    thread = dc.double.channel(dc.guild, "old", 11, dc.garden, id=root["id"], archived=True)
    await dc.start()
    dc.double.say(thread, dc.ann, "is anybody there")
    event = await dc.said("is anybody there")
    assert (event.room, event.thread) == (dc.room, root["id"])


async def test_servers_come_and_go(dc: Bench) -> None:
    """Adding the bot greets one channel; renames and removals are told; a second look is silent."""
    await dc.start()
    hello = await dc.heard(BotAdded)
    assert (hello.room, hello.title, hello.greet) == (dc.room, "#garden", True)
    park = dc.double.guild("Park", dc.bob)
    for name in ("lawn", "lake"):
        channel = dc.double.channel(park, name)
    park.raw["system_channel_id"] = channel.id
    dc.double.add_bot(park)
    hello = await dc.heard(BotAdded, lambda event: event.title == "#lake")
    assert hello.greet
    dc.double.rename(channel, "pond")
    assert (await dc.heard(RoomRenamed)).title == "#pond"
    dc.double.drop_channel(park, channel)
    await dc.heard(BotRemoved, lambda event: event.room == f"dc/{channel.id}")
    dc.double.remove_bot(park)
    await dc.heard(BotRemoved, lambda event: event.room != f"dc/{channel.id}")
    greeted = [event for event in dc.relay.seen if isinstance(event, BotAdded) and event.greet]
    assert len(greeted) == 2


async def test_a_channel_that_is_hidden_and_shown(dc: Bench) -> None:
    """Taking View Channel away removes the bot from the room; giving it back brings it back, without a greeting."""
    await dc.start()
    dc.double.overwrite(dc.guild, dc.garden, dc.double.bot["id"], deny=1 << 10)
    assert (await dc.heard(BotRemoved)).room == dc.room
    dc.double.overwrite(dc.guild, dc.garden, dc.double.bot["id"], allow=1 << 10)
    back = await dc.heard(BotAdded, lambda event: not event.greet)
    assert back.room == dc.room


@pytest.mark.parametrize(
    "odd", [{}, {"id": "x"}, {"id": "1", "author": "nobody"}, {"id": "1", "author": {}, "content": 5, "attachments": 7}]
)
async def test_events_that_make_no_sense(dc: Bench, odd: dict[str, object]) -> None:
    """They are passed over; what comes after them is heard, and the connection stays."""
    await dc.start()
    for name in ("MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_REACTION_ADD", "TYPING_START", "MESSAGE_DELETE"):
        dc.double.tell(name, {"channel_id": dc.garden.id, "guild_id": dc.guild.id, "edited_timestamp": "now"} | odd)
    dc.double.say(dc.garden, dc.ann, "after it")
    await dc.said("after it")
    assert not dc.double.resumed


async def test_what_can_never_be_asked_is_left_out(dc: Bench) -> None:
    """An event that needs an answer which does not come holds up the others for a few tries only."""
    thread = dc.double.channel(dc.guild, "old", 11, dc.garden, archived=True)
    await dc.start()
    dc.adapter._gateway._tries, dc.adapter._gateway._tried = 4, len(next(iter(dc.double._sessions.values())).events) + 1
    dc.double.faults += [Fault(f"GET /channels/{thread.id}", 500)]
    dc.double.say(thread, dc.ann, "never heard")
    dc.double.say(dc.garden, dc.ann, "after it")
    await dc.said("after it")
    assert dc.texts() == ["after it"]


async def test_an_outage_does_not_keep_us_offline(dc: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was announced and does not come is waited for a moment only, also when the connection breaks."""
    monkeypatch.setattr("bots.discord.intake.GUILDS_WAIT_S", 0.1)
    tell = dc.double.guild_raw
    monkeypatch.setattr(dc.double, "guild_raw", lambda guild: tell(guild) | {"unavailable": True})
    await dc.start()
    await dc.double.drop(4000)
    await dc.until(lambda: not dc.relay.is_online)
    await dc.until(lambda: dc.relay.is_online)


async def test_a_request_that_fails_does_not_lose_events(dc: Bench) -> None:
    """When Discord does not say where a thread belongs, the event is asked for again."""
    thread = dc.double.channel(dc.guild, "old", 11, dc.garden, archived=True)
    await dc.start()
    dc.double.faults.append(Fault(f"GET /channels/{thread.id}", 500))
    dc.double.say(thread, dc.ann, "hello")
    await dc.said("hello")
    assert dc.double.resumed


async def test_who_reacts_is_known_by_name(dc: Bench) -> None:
    """Taking a reaction back names nobody in Discord's event: the name is as last heard."""
    await dc.start()
    message = dc.double.say(dc.garden, dc.ann, "hello")
    for added in (True, False):
        dc.double.react(message, dc.bob, "🔥", added)
    event = await dc.heard(Reaction, lambda e: not e.added)
    assert event.author.name == "Bob"


async def test_stopping_ends_everything(dc: Bench) -> None:
    """After stop nothing is left running, in whatever state it was."""
    await dc.start()
    await dc.stop()
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith("discord")]
    dc.adapter = dc.make(api_url="http://127.0.0.1:9")
    await dc.adapter.start(dc.relay)
    await dc.stop()
