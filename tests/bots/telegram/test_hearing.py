"""What comes in by polling: order, redelivery, albums, topics, migrations, privacy mode."""

from __future__ import annotations

import pytest

from core.contract import AuthLost
from core.model import BotAdded, BotRemoved, MessageEdited, MessageNew, Reaction, RoomMoved, RoomRenamed, room_id
from tests.bots.telegram.support import TG, Bench
from tests.fakes.telegram import Fault


async def test_nothing_is_confirmed_before_it_is_durable(tg: Bench) -> None:
    """While the store is down Telegram keeps the updates; later they come, in order."""
    await tg.start()
    tg.relay.down = True
    for number in range(3):
        tg.double.say(tg.group, tg.ann, f"word {number}")
    await tg.said("word 2")
    asked = len(tg.double.calls("getUpdates"))
    await tg.double.until(lambda: len(tg.double.calls("getUpdates")) >= asked + 2)
    assert len(tg.double.updates) == 3
    tg.relay.down = False
    await tg.double.until(lambda: not tg.double.updates)
    assert list(dict.fromkeys(tg.texts())) == ["word 0", "word 1", "word 2"]


async def test_a_restart_hears_again_what_was_not_confirmed(tg: Bench) -> None:
    """What was handed over and not confirmed comes again after a restart, with the same ids."""
    await tg.start()
    tg.relay.down = True
    tg.double.say(tg.group, tg.ann, "once")
    first = await tg.said("once")
    await tg.stop()
    tg.relay.seen.clear()
    tg.relay.down = False
    await tg.start()
    assert (await tg.said("once")).native == first.native


async def test_an_album_is_one_message_and_keeps_the_order(tg: Bench) -> None:
    """The parts come as one message; what is said meanwhile comes after it, other rooms do not wait."""
    other = tg.double.chat("Kitchen", tg.ann)
    other.members[tg.double.bot.id] = "member"
    await tg.start(album_wait_s=0.6)
    tg.double.album(tg.group, tg.ann, [b"one", b"two"], "plans")
    tg.double.say(tg.group, tg.bob, "nice plans")
    tg.double.say(other, tg.ann, "soup")
    await tg.said("nice plans")
    assert tg.texts() == ["soup", "plans", "nice plans"]
    assert len((await tg.said("plans")).files) == 2
    await tg.double.until(lambda: not tg.double.updates)


async def test_a_half_received_album_survives_a_crash(tg: Bench) -> None:
    """An album of which a part was handed over when the process died comes whole after the restart."""
    await tg.start(album_wait_s=5.0)
    tg.double.album(tg.group, tg.ann, [b"one", b"two"], "plans")
    tg.double.say(tg.group, tg.ann, "the end")
    # A second question means that the first answer was taken in.
    await tg.double.until(lambda: len(tg.double.calls("getUpdates")) >= 3)
    assert tg.texts() == []
    assert len(tg.double.updates) == 3
    await tg.stop()
    await tg.start(album_wait_s=0.3)
    await tg.said("the end")
    assert tg.texts() == ["plans", "the end"]
    assert len((await tg.said("plans")).files) == 2


async def test_an_album_is_one_thing_also_later(tg: Bench) -> None:
    """Reactions and replies to any part of an album, and edits of it, are about its message."""
    tg.double.add_bot(tg.group, tg.bob, "administrator")
    await tg.start()
    parts = tg.double.album(tg.group, tg.ann, [b"one", b"two", b"three"], "plans")
    album = await tg.said("plans")
    tg.double.react(tg.group, tg.bob, parts[2].id, ["🔥"])
    assert (await tg.heard(Reaction)).target == album.native
    tg.double.say(tg.group, tg.bob, "the second one", reply_to=parts[1].id)
    answer = await tg.said("the second one")
    assert answer.reply_to
    assert answer.reply_to.native == album.native
    parts[1].raw["caption"] = ""
    tg.double.edit(tg.group, parts[1].id, "new words")
    assert (await tg.heard(MessageEdited)).target == album.native


async def test_topics_are_rooms(tg: Bench) -> None:
    """A topic is a room of its own, also for reactions, and all of them go with the group."""
    forum = tg.double.chat("Forum", tg.bob, forum=True)
    tg.double.add_bot(forum, tg.bob, "administrator")
    roses = tg.double.topic(forum, "Roses", tg.bob)
    await tg.start()
    said = tg.double.say(forum, tg.bob, "thorns", thread=roses)
    room = room_id(TG, f"{forum.id}:{roses}")
    event = await tg.said("thorns")
    assert (event.room, event.reply_to) == (room, None)
    assert tg.adapter.room_info(room).title == "Roses"
    assert tg.adapter.room_info(room).detail == "Forum"
    receipt = await tg.adapter.send(tg.out("petals", room))
    tg.double.react(forum, tg.bob, said.id, ["👍"])
    tg.double.react(forum, tg.bob, int(receipt.natives[0]), ["🔥"])
    assert (await tg.heard(Reaction, lambda e: e.emoji == "👍")).room == room
    assert (await tg.heard(Reaction, lambda e: e.emoji == "🔥")).room == room
    tg.double.post(forum, tg.bob, thread=roses, forum_topic_edited={"name": "Tulips"})
    assert (await tg.heard(RoomRenamed)).title == "Tulips"
    tg.double.add_bot(forum, tg.bob, "kicked")
    await tg.heard(BotRemoved, lambda e: e.room == room)
    await tg.heard(BotRemoved, lambda e: e.room == room_id(TG, str(forum.id)))
    assert tg.adapter.room_info(room).title == f"{forum.id}:{roses}"


async def test_a_group_that_becomes_a_supergroup_is_followed(tg: Bench) -> None:
    """Both of Telegram's messages mean one move; later posts for the old id reach the new one."""
    old = tg.double.chat("Small", tg.bob, kind="group")
    tg.double.add_bot(old, tg.bob)
    await tg.start()
    await tg.heard(BotAdded)
    new = tg.double.migrate(old)
    tg.double.add_bot(old, tg.bob, "left")
    tg.double.say(new, tg.bob, "bigger now")
    await tg.said("bigger now")
    moves = [event for event in tg.relay.seen if isinstance(event, RoomMoved)]
    assert {(move.room, move.to, move.native) for move in moves} == {
        (room_id(TG, str(old.id)), room_id(TG, str(new.id)), f"migrate:{new.id}")
    }
    assert not [event for event in tg.relay.seen if isinstance(event, BotRemoved)]
    await tg.adapter.send(tg.out("follows", room_id(TG, str(old.id))))
    await tg.posted("follows", new)
    assert tg.adapter.room_info(room_id(TG, str(new.id))).title == "Small"


async def test_a_move_is_learnt_from_a_refused_post(tg: Bench) -> None:
    """When Telegram says so in its answer to a post, the post goes to the new id at once, and the room moves."""
    old = tg.double.chat("Small", tg.bob, kind="group")
    tg.double.add_bot(old, tg.bob)
    await tg.start()
    new = tg.double.migrate(old, tell=False)
    receipt = await tg.adapter.send(tg.out("hello", room_id(TG, str(old.id))))
    assert receipt.natives == (str((await tg.posted("hello", new)).id),)
    assert (await tg.heard(RoomMoved)).to == room_id(TG, str(new.id))
    await tg.stop()
    await tg.start()
    await tg.adapter.send(tg.out("still known", room_id(TG, str(old.id))))
    await tg.posted("still known", new)


async def test_a_claimed_migration_is_refused(tg: Bench) -> None:
    """Words about a move, a message in an answer, and a supergroup that says it moved, move nothing."""
    await tg.start()
    tg.double.say(tg.group, tg.ann, f"migrate_to_chat_id: {tg.group.id - 1}")
    small = tg.double.chat("Small", tg.bob, kind="group")
    small.members[tg.double.bot.id] = "member"
    moved = tg.double.post(small, tg.ann, text="we moved", migrate_to_chat_id="soon")
    tg.double.say(small, tg.ann, "see above", reply_to=moved.id)
    tg.double.post(tg.group, tg.ann, migrate_to_chat_id=tg.group.id - 1)
    tg.double.post(small, tg.ann, migrate_to_chat_id=-77)
    tg.double.post(small, tg.ann, migrate_from_chat_id=-78)
    tg.double.say(tg.group, tg.ann, "nothing happened")
    await tg.said("nothing happened")
    assert not [event for event in tg.relay.seen if isinstance(event, RoomMoved)]


async def test_our_channel_posts_do_not_come_back(tg: Bench) -> None:
    """Telegram copies a channel's posts to its discussion group: ours are left out there, an editor's are heard."""
    channel = tg.double.chat("News", tg.ann, kind="channel")
    tg.double.add_bot(channel, tg.ann, "administrator")
    channel.linked = tg.group.id
    await tg.start()
    await tg.heard(BotAdded)
    await tg.adapter.send(tg.out("from elsewhere", room_id(TG, str(channel.id))))
    tg.double.post(channel, tg.ann, text="by the editor", author_signature="Ann")
    group_hears = lambda event: event.room == tg.room and event.text.plain == "by the editor"  # noqa: E731
    assert (await tg.heard(MessageNew, group_hears)).author.name == "News"
    assert (await tg.heard(MessageNew, lambda e: e.room != tg.room)).author.name == "Ann"
    assert "from elsewhere" not in tg.texts()


async def test_privacy_mode_is_explained_once(tg: Bench) -> None:
    """After the greeting the room reads how to mend it, and not again at the next start."""
    tg.double.reads_all = False
    await tg.start()
    new = tg.double.chat("Orchard", tg.bob)
    room = room_id(TG, str(new.id))
    tg.double.add_bot(new, tg.bob)
    await tg.heard(BotAdded)
    await tg.adapter.send(tg.out("Hello, I am a bridge.", room, author=None))
    told = await tg.posted("/setprivacy", new)
    assert tg.posts(new)[0].plain == "Hello, I am a bridge."
    assert "@bridge_bot, Disable" in told.plain
    assert "admin" in told.plain
    await tg.stop()
    await tg.start()
    await tg.adapter.send(tg.out("again", room))
    await tg.adapter.send(tg.out("and again", room))
    assert len([post for post in tg.posts(new) if "/setprivacy" in post.plain]) == 1


async def test_admins_need_no_word_on_privacy(tg: Bench) -> None:
    """Where the bot is an admin it hears everything, so nothing is explained."""
    tg.double.reads_all = False
    await tg.start()
    tg.double.add_bot(tg.group, tg.bob, "left")
    tg.double.add_bot(tg.group, tg.bob, "administrator")
    await tg.heard(BotAdded)
    tg.double.say(tg.group, tg.ann, "plain words")
    await tg.said("plain words")
    await tg.adapter.send(tg.out("one"))
    await tg.adapter.send(tg.out("two"))
    assert [post.plain for post in tg.posts()] == ["one", "two"]


async def test_privacy_mode_switched_on_later_is_seen_at_the_start(tg: Bench) -> None:
    """Rooms that were fine are told when the next start finds privacy mode on."""
    await tg.start()
    tg.double.say(tg.group, tg.ann, "hello")
    await tg.said("hello")
    await tg.stop()
    tg.double.reads_all = False
    await tg.start()
    await tg.posted("/setprivacy")


async def test_an_update_that_cannot_be_read_stops_nothing(tg: Bench) -> None:
    """Unknown and broken updates are left out; what follows is heard, and all are confirmed."""
    await tg.start()
    tg.double.push("message", {"chat": tg.group.raw(), "text": "no id", "from": tg.ann.raw(), "date": "soon"})
    tg.double.push("message", {"chat": {"id": tg.group.id}, "message_id": {}, "new_chat_members": 7})
    tg.double.updates.append({"update_id": 999_999_999, "hologram": {"depth": 3}})
    tg.double.push("message", tg.double.say(tg.group, tg.ann, "fine").raw)
    await tg.said("fine")
    await tg.double.until(lambda: not tg.double.updates)


async def test_another_poller_is_explained(tg: Bench) -> None:
    """A conflict is told to the operator, and is over when the other one is gone."""
    await tg.start()
    conflict = {"ok": False, "error_code": 409, "description": "Conflict: terminated by other getUpdates request"}
    tg.double.faults.append(Fault("getUpdates", 409, conflict))
    tg.double.say(tg.group, tg.ann, "wake up")
    await tg.until(lambda: tg.relay.reasons)
    assert "Another program uses this bot's token" in tg.relay.reasons[-1]
    await tg.until(lambda: tg.relay.is_online)
    await tg.said("wake up")


async def test_a_lost_token_is_said(tg: Bench) -> None:
    """A token that Telegram no longer takes puts the account off, and posts wait."""
    adapter = tg.make(token="7000000001:AAE-another-token-than-the-right_one")
    tg.adapter = adapter
    await adapter.start(tg.relay)
    await tg.until(lambda: tg.relay.reasons)
    assert "@BotFather" in tg.relay.reasons[-1]
    with pytest.raises(AuthLost):
        await adapter.send(tg.out("hello"))


async def test_a_connection_that_breaks_is_made_again(tg: Bench) -> None:
    """A cut poll loses nothing."""
    await tg.start()
    tg.double.faults.append(Fault("getUpdates", cut="after"))
    tg.double.say(tg.group, tg.ann, "through the cut")
    await tg.said("through the cut")
    assert tg.texts().count("through the cut") == 1
    await tg.double.until(lambda: not tg.double.updates)
