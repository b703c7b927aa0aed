"""What people do, as events: order, repetition, membership, names, threads, a store that is down."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bots.teams import intake
from core.model import (
    BotAdded,
    BotRemoved,
    Joined,
    Left,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    Reaction,
    RoomRenamed,
    room_id,
)
from core.store import Redis
from tests.bots.teams.conftest import ACCOUNT, World, running
from tests.fakes.teams import Fault
from tests.fakes.teams_people import People


def at(payload: dict[str, Any], second: int) -> dict[str, Any]:
    """The payload with another time."""
    return payload | {"timestamp": f"2026-11-20T10:00:{second:02}.1234567Z"}


async def test_a_bot_is_greeted_once(world: World) -> None:
    """Teams tells of an installation twice; a delivery of the same again is the same event again."""
    people = await world.channel("Ann", "Bob")
    added = world.inbox.of(BotAdded)
    assert [(event.room, event.title) for event in added] == [(world.room(people), "Garden Club / Seeds")]
    assert added[0].by
    assert added[0].by.id == people.room.members["Ann"].id


async def test_a_greeting_that_was_not_stored_comes_again(world: World) -> None:
    """The same activity delivered again after a 503 greets, and its twin does not."""
    people = People(world.service, world.service.chat(world.service.person("Ann")))
    update = people.activity("conversationUpdate", people.room.members["Ann"])
    update["membersAdded"] = [{"id": world.service.bot.id}]
    world.inbox.down = True
    assert await world.service.deliver(update) == 503
    world.inbox.down = False
    assert await world.service.deliver(update) == 200
    install = people.activity("installationUpdate", people.room.members["Ann"], action="add")
    assert await world.service.deliver(install) == 200
    assert len({event.native for event in world.inbox.of(BotAdded)}) == 1


async def test_going_and_coming_back(world: World) -> None:
    """Removed once, greeted again when it is added again."""
    people = await world.chat("Ann", "Bob")
    await people.remove_bot("Ann")
    assert not await world.adapter.rooms()
    await people.add_bot("Bob")
    kinds = [type(event) for event in world.inbox.events if isinstance(event, BotAdded | BotRemoved)]
    assert kinds == [BotAdded, BotRemoved, BotAdded]


async def test_an_update_of_the_app_is_no_coming(world: World) -> None:
    """A new version of the app is installed over the old one."""
    people = await world.chat("Ann")
    world.inbox.events.clear()
    for action in ("add-upgrade", "remove-upgrade"):
        payload = people.activity("installationUpdate", people.room.members["Ann"], action=action)
        assert await world.service.deliver(payload) == 200
    assert not world.inbox.events


async def test_leaving_a_team_leaves_all_its_channels(world: World) -> None:
    """Teams names only the team; the relay must know it of every channel."""
    seeds = await world.channel("Ann", name="Seeds")
    tools = await world.channel("Bob", name="Tools")
    await tools.say("Bob", "<p>hi</p>")
    other = await world.channel("Cat", team="Kitchen")
    await seeds.remove_bot("Ann")
    gone = {event.room for event in world.inbox.of(BotRemoved)}
    assert {world.room(seeds), world.room(tools)} <= gone
    assert world.room(other) not in gone


async def test_people_come_and_go(world: World) -> None:
    """Members other than the bot."""
    people = await world.chat("Ann", "Bob")
    payload = people.activity("conversationUpdate", people.room.members["Ann"])
    bob = {"id": people.room.members["Bob"].id, "aadObjectId": "x"}
    await world.service.deliver(payload | {"membersAdded": [bob]})
    await world.service.deliver(payload | {"membersRemoved": [bob], "id": "f:2"})
    assert [event.author.id for event in world.inbox.of(Joined)] == [bob["id"]]
    assert [event.author.id for event in world.inbox.of(Left)] == [bob["id"]]


async def test_names_follow_renames(world: World) -> None:
    """A channel and a team that are renamed; the rooms' own titles, in another process as well."""
    seeds = await world.channel("Ann", name="Seeds")
    tools = await world.channel("Ann", name="Tools")
    await seeds.rename_channel("Ann", "Bulbs")
    await seeds.rename_team("Ann", "Greens")
    found = {(event.room, event.title) for event in world.inbox.of(RoomRenamed)}
    assert (world.room(seeds), "Garden Club / Bulbs") in found
    assert (world.room(seeds), "Greens / Bulbs") in found
    assert (world.room(tools), "Greens / Tools") in found
    async with running(world.store) as other:
        await other.adapter.rooms()
        assert other.adapter.room_info(world.room(seeds)).title == "Greens / Bulbs"


async def test_a_deleted_channel_is_left(world: World) -> None:
    """And only that one of its team."""
    people = await world.channel("Ann")
    other = await world.channel("Ann", name="Tools")
    await people.delete_channel("Ann")
    assert [event.room for event in world.inbox.of(BotRemoved)] == [world.room(people)]
    assert world.room(other) in [info.room for info in await world.adapter.rooms()]


async def test_a_claimed_move_moves_nothing(world: World) -> None:
    """An activity of a room tells of no other one (threat 15): a team's event touches its own rooms only."""
    seeds = await world.channel("Ann", team="Garden Club")
    kitchen = await world.channel("Cat", team="Kitchen")
    payload = seeds.activity("conversationUpdate", seeds.room.members["Ann"])
    payload["channelData"] |= {"eventType": "channelRenamed", "channel": {"id": kitchen.room.id, "name": "Mine"}}
    await world.service.deliver(payload)
    assert not [event for event in world.inbox.of(RoomRenamed) if event.room == world.room(kitchen)]
    assert world.adapter.room_info(world.room(kitchen)).title == "Kitchen / Seeds"


async def test_a_room_is_named_where_messages_do_not_say_it(world: World) -> None:
    """A chat by who is in it, a chat with one person by that one, a channel by what the service says."""
    chat = await world.chat("Ann", "Bob", "Cat", "Dan")
    alone = await world.chat("Eve", personal=True)
    await alone.say("Eve", "<p>hi</p>")
    people = People(world.service, world.service.channel("Club", "Quiet", world.service.person("Flo")))
    people.room.has_bot = True
    await people.say("Flo", "<p>-sameroom open</p>")
    titles = [world.adapter.room_info(world.room(one)).title for one in (chat, alone, people)]
    assert titles == ["Ann, Bob, Cat +1", "Eve", "Club / Quiet"]


async def test_a_name_that_nobody_tells(store: Redis) -> None:
    """Messages do not wait for it more than once, and a store that was away for a moment is asked again."""
    async with running(store) as world:
        world.service.faults.append(Fault("pagedMembers", 500, times=1))
        people = await world.chat("Ann")
        await people.say("Ann", "<p>x</p>")
        assert world.adapter.room_info(world.room(people)).title == "a Teams chat"
        assert len(world.asked("pagedMembers")) == 1
        assert len(world.inbox.of(MessageNew)) == 1


async def test_redelivery_is_the_same_event(world: World) -> None:
    """The same activity twice has the same native id twice, whatever it tells (threat 30)."""
    people = await world.channel("Ann")
    bodies = [people.message("Ann", "<p>one</p>", "1700000000001")]
    bodies.append(people.message("Ann", "<p>two</p>", "1700000000001", type="messageUpdate"))
    bodies[1]["channelData"]["eventType"] = "editMessage"
    bodies.append(people.activity("messageDelete", people.room.members["Ann"], id="1700000000001"))
    world.inbox.events.clear()
    for body in bodies * 2:
        assert await world.service.deliver(body) == 200
    natives = [event.native for event in world.inbox.events]
    assert len(natives) == 6
    assert natives[:3] == natives[3:]
    assert len(set(natives)) == 3


async def test_what_comes_side_by_side_is_put_in_order(store: Redis) -> None:
    """Teams delivers in parallel: the service's clock says what was first."""
    async with running(store, reorder_ms=300) as world:
        people = await world.chat("Ann")
        world.inbox.events.clear()
        bodies = [at(people.message("Ann", f"<p>{n}</p>", f"170000000000{n}"), n) for n in range(8)]
        order = [3, 0, 7, 1, 6, 2, 5, 4]
        tasks = []
        for number in order:
            tasks.append(asyncio.create_task(world.service.deliver(bodies[number])))
            await asyncio.sleep(0.005)
        assert set(await asyncio.gather(*tasks)) == {200}
        assert [event.text.plain for event in world.inbox.of(MessageNew)] == [str(n) for n in range(8)]


async def test_rooms_do_not_wait_for_one_another(store: Redis) -> None:
    """Only a conversation's own messages are put in order."""
    async with running(store, reorder_ms=0) as world:
        one, two = await world.chat("Ann"), await world.chat("Bob")
        await asyncio.gather(*(who.say(name, "<p>x</p>") for who, name in ((one, "Ann"), (two, "Bob")) * 5))
        assert len(world.inbox.of(MessageNew)) == 10


async def test_a_store_that_is_down_is_said_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 within the service's patience, and the message is there once the store is back (threat 41)."""
    monkeypatch.setattr(intake, "PATIENCE_S", 0.2)
    people = await world.chat("Ann")
    body = people.message("Ann", "<p>patience</p>", "1700000000009")
    world.inbox.stalled = asyncio.Event()
    assert await world.service.deliver(body) == 503
    world.inbox.stalled.set()
    assert await world.service.deliver(body) == 200
    assert {event.native for event in world.inbox.of(MessageNew)} == {"1700000000009"}
    world.inbox.down = True
    assert await world.service.deliver(people.message("Ann", "<p>x</p>", "1700000000010")) == 503


async def test_our_own_and_other_bots(world: World) -> None:
    """What the bot itself said is nothing new; another bot is marked as one."""
    people = await world.chat("Ann")
    world.inbox.events.clear()
    people.room.members["BridgeBot"] = world.service.bot
    await people.say("BridgeBot", "<p>mine</p>")
    assert not world.inbox.events
    helper = world.service.person("Helper")
    helper.id = "28:some-other-bot"
    people.room.members["Helper"] = helper
    await people.say("Helper", "<p>beep</p>")
    assert [(event.bridged, event.author.is_bot) for event in world.inbox.of(MessageNew)] == [(True, True)]


async def test_a_command_after_a_mention(world: World) -> None:
    """Where the bot hears only what mentions it, commands still are commands."""
    people = await world.channel("Ann")
    span = '<span itemscope="" itemtype="http://schema.skype.com/Mention" itemid="0">BridgeBot</span>'
    await people.say("Ann", f"<div><div>{span}&nbsp;-sameroom open</div></div>", mentions=(world.service.bot,))
    assert world.inbox.of(MessageNew)[-1].text.plain == "-sameroom open"


@pytest.mark.parametrize("as_entity", [False, True])
async def test_an_answer_in_a_chat(world: World, as_entity: bool) -> None:
    """It names what it answers, in both of Teams' ways, and its text holds no quote."""
    people = await world.chat("Ann", "Bob")
    question = await people.say("Ann", "<p>tea &amp; cake?</p>", plain="tea & cake?")
    await people.reply("Bob", question, "yes", as_entity=as_entity)
    answer = world.inbox.of(MessageNew)[-1]
    assert answer.text.plain == "yes"
    assert answer.reply_to
    assert (answer.reply_to.native, answer.reply_to.author_name) == (question, "Ann")
    assert answer.reply_to.excerpt == "tea & cake?"
    assert answer.thread == ""


async def test_a_thread_is_known_in_another_process(world: World) -> None:
    """An answer to an answer goes into the same thread, also from where nobody heard of it."""
    people = await world.channel("Ann", "Bob")
    root = await people.say("Ann", "<p>root</p>")
    below = await people.say("Bob", "<p>below</p>", root)
    event = world.inbox.of(MessageNew)[-1]
    assert (event.thread, event.reply_to and event.reply_to.native) == (root, root)
    async with running(world.store, **world.service.settings()) as other:
        await other.adapter.send(world.post(people, "from elsewhere", reply_to=below))
    shown = people.room.order()[-1]
    assert (shown.root, shown.quotes) == (root, below)


async def test_undeleting_is_an_edit(world: World) -> None:
    """A message that comes back has its text again."""
    people = await world.chat("Ann")
    native = await people.say("Ann", "<p>gone soon</p>")
    await people.delete("Ann", native)
    await people.edit("Ann", native, "back again", "undeleteMessage")
    assert [event.target for event in world.inbox.of(MessageDeleted)] == [native]
    assert [(e.target, e.text.plain) for e in world.inbox.of(MessageEdited)] == [(native, "back again")]


async def test_reactions_of_every_kind(world: World) -> None:
    """Those with words, those with codes, and those that nobody knows."""
    people = await world.chat("Ann")
    receipt = await world.adapter.send(world.post(people, "react"))
    for kind in ("heart", "1f440_eyes", "1f3f3-fe0f-200d-1f308_rainbowflag", "plusone"):
        await people.react("Ann", receipt.natives[0], kind)
    assert [event.emoji for event in world.inbox.of(Reaction)] == ["❤️", "👀", "🏳️‍🌈", ":plusone:"]


async def test_the_account_id_is_the_rooms_first_part(world: World) -> None:
    """Ids of conversations are kept as they are, whatever is in them."""
    people = await world.chat("Ann", personal=True)
    await people.say("Ann", "<p>x</p>")
    assert world.inbox.of(MessageNew)[0].room == room_id(ACCOUNT, people.room.id)
