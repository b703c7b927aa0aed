"""What an account hears: rooms that come and go, people who do, edits that are none, and what happened meanwhile."""

from __future__ import annotations

import asyncio

from core.contract import Since
from core.model import (
    BotAdded,
    BotRemoved,
    Joined,
    Left,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    RoomRenamed,
    Typing,
)
from core.store import Redis, StoreDown
from tests.bots.rocketchat.support import ALICE, ME, PEOPLE, ROOM, WHERE, adapter_for, out, post, running
from tests.contract.scene import ANN, BOB
from tests.contract.stage import Recorder


async def test_rooms_that_were_there_before_are_not_greeted(store: Redis) -> None:
    """The first look greets nobody; a room that came while we were away is greeted at the next."""
    async with running(store) as account:
        assert account.of(BotAdded) == []
        assert account.adapter.room_info(WHERE).title == "#garden"
        await account.double.cut()
        account.double.room("pond", "p", "pond", PEOPLE[ANN], ME)
        account.double.room("direct", "d", "", PEOPLE[BOB], ME)
        account.double.back()
        await account.until(lambda: len(account.of(BotAdded)) == 2)
        assert [(event.room, event.title) for event in account.of(BotAdded)] == [
            ("rc/pond", "pond"),
            ("rc/direct", "@bob"),
        ]


async def test_rooms_come_are_renamed_and_go(store: Redis) -> None:
    """Added, renamed, put out: one event each, however often the server says it."""
    async with running(store) as account:
        account.double.room("pond", "c", "pond", PEOPLE[ANN])
        account.double.insert("pond", PEOPLE[ANN], {"msg": "before you came"})
        account.double.add("pond", ME, PEOPLE[ANN])
        await account.until(lambda: account.of(BotAdded))
        account.double.rename("pond", "lake", PEOPLE[ANN])
        account.double.insert("pond", PEOPLE[ANN], {"msg": "in the lake"})
        account.double.remove("pond", ME, PEOPLE[ANN])
        account.double.insert("pond", PEOPLE[ANN], {"msg": "after you left"})
        await account.until(lambda: account.of(BotRemoved))
        await account.settled()
        assert [event.title for event in account.of(BotAdded)] == ["#pond"]
        assert [event.title for event in account.of(RoomRenamed)] == ["#lake"]
        assert len(account.of(BotRemoved)) == 1
        assert account.texts()[0] == "in the lake"
        assert "after you left" not in account.texts()


async def test_a_room_that_cannot_be_asked_for_is_not_lost(store: Redis) -> None:
    """Where the server does not answer when we are let in, the room and what is said there are found all the same."""
    async with running(store, reconnect_min_s=0.01) as account:
        account.double.room("pond", "c", "pond", PEOPLE[ANN])
        account.double.fail("GET rooms.get", status=500, times=2)
        account.double.add("pond", ME, PEOPLE[ANN])
        await account.until(lambda: account.of(BotAdded))
        await account.until(lambda: account.double.listening(ME, "stream-notify-room", "pond/user-activity"))
        account.double.insert("pond", PEOPLE[ANN], {"msg": "in the pond"})
        await account.until(lambda: "in the pond" in account.texts())
        assert not account.double.faults


async def test_people_come_and_go(store: Redis) -> None:
    """System messages are what they mean, and never text."""
    async with running(store) as account:
        account.double.user("cidUserId", "cid", "Cid")
        account.double.add(ROOM, "cidUserId", PEOPLE[ANN])
        account.double.remove(ROOM, "cidUserId")
        account.double.join(ROOM, "cidUserId")
        account.double.remove(ROOM, "cidUserId", PEOPLE[ANN])
        account.double.insert(ROOM, PEOPLE[ANN], {"t": "room_changed_topic", "msg": "a topic"})
        await account.settled()
        assert [(event.author.id, event.author.name) for event in account.of(Joined)] == [("cidUserId", "Cid")] * 2
        assert [event.author.id for event in account.of(Left)] == ["cidUserId"] * 2
        assert len(account.texts()) == 1


async def test_encrypted_words_are_told_as_such(store: Redis) -> None:
    """The bridge cannot read them; that something was said is not hidden from the others."""
    async with running(store) as account:
        account.say("c2VjcmV0", t="e2e")
        await account.settled()
        assert account.texts()[0] == "(an encrypted message, which the bridge cannot read)"


async def test_only_people_edit(store: Redis) -> None:
    """A preview, a reaction or a pin changes the message but is no edit, and brings no message twice."""
    async with running(store) as account:
        native = account.say("see https://example.org/x")
        account.double.unfurl(native, "A page")
        account.double.update(native, PEOPLE[ANN], "see it")
        account.double.unfurl(native, "A page")
        account.double.react(native, PEOPLE[BOB], "tada", True)
        await account.settled()
        assert len(account.of(MessageNew)) == 2
        assert [event.text.plain for event in account.of(MessageEdited)] == ["see it"]


async def test_an_old_message_is_not_new(store: Redis) -> None:
    """A reaction to something from last year, which we have not seen since we started, does not say it again."""
    async with running(store) as account:
        year_ms = 365 * 86_400_000
        message = {"_id": "old", "rid": ROOM, "msg": "old news", "md": [], "attachments": [], "mentions": []}
        message |= {"u": account.double.users[PEOPLE[ANN]].short(), "ts": account.double.now() - year_ms}
        account.double.rooms[ROOM].messages.append(message)
        account.double.react("old", PEOPLE[BOB], "tada", True)
        account.double.react("old", PEOPLE[BOB], "tada", False)
        await account.settled()
        assert "old news" not in account.texts()
        assert [(event.emoji, event.added) for event in account.of(Reaction)] == [("🎉", True), ("🎉", False)]


async def test_our_own_doings_do_not_come_back(store: Redis) -> None:
    """Posts, files, edits, deletions, reactions and typing of ours; what the bot's owner types by hand does."""
    async with running(store) as account:
        receipt = await account.adapter.send(post("ours", files=(out("a.png", b"x"),)))
        await account.adapter.edit(receipt.natives, post("ours again", "k2"))
        await account.adapter.react(WHERE, receipt.natives[0], "👍", True, ALICE)
        await account.adapter.delete(WHERE, receipt.natives)
        account.double.type(ROOM, ME)
        account.double.insert(ROOM, ME, {"msg": "typed by hand"})
        account.double.insert(ROOM, PEOPLE[ANN], {"_id": "bbForged", "msg": "says Ann"})
        await account.settled()
        kinds = (MessageEdited, MessageDeleted, Reaction, Typing)
        assert [event for event in account.events.seen if isinstance(event, kinds)] == []
        assert account.texts()[:2] == ["typed by hand", "says Ann"]


async def test_a_moderator_deletes_our_post(store: Redis) -> None:
    """Also as a placeholder, where the server leaves one."""
    async with running(store) as account:
        first = await account.adapter.send(post("first"))
        second = await account.adapter.send(post("second", "k2"))
        account.double.delete(first.natives[0])
        found = account.double.find(second.natives[0])
        assert found
        found[1].update({"t": "rm", "msg": ""})
        account.double.publish(found[1])
        await account.settled()
        assert [event.target for event in account.of(MessageDeleted)] == [*first.natives, *second.natives]


async def test_bots_and_bridges_are_marked(store: Redis) -> None:
    """An integration, and whoever posts under another name."""
    async with running(store) as account:
        account.say("by a bot", bot={"i": "x"})
        account.say("by a bridge", alias="Zed")
        await account.settled()
        assert [event.bridged for event in account.of(MessageNew)] == [True, True, False]


async def test_a_public_channel_that_we_are_not_in_is_not_heard(store: Redis) -> None:
    """The server tells us of it, for anybody may look into it."""
    async with running(store) as account:
        account.double.room("other", "c", "other", PEOPLE[ANN])
        account.double.insert("other", PEOPLE[ANN], {"msg": "not for us"})
        await account.settled()
        assert "not for us" not in account.texts()
        assert account.of(BotAdded) == []


async def test_who_runs_the_room(store: Redis) -> None:
    """Its owner, and an administrator of the server; in a direct room both."""
    async with running(store) as account:
        account.double.user("root", "root", roles=["admin"])
        account.double.room("direct", "d", "", PEOPLE[BOB], ME)
        await account.until(lambda: account.of(BotAdded))
        admin = account.adapter.is_admin
        assert [await admin(WHERE, who) for who in (PEOPLE[ANN], PEOPLE[BOB], "root")] == [True, False, True]
        direct = account.of(BotAdded)[0].room
        assert [await admin(direct, who) for who in (PEOPLE[BOB], PEOPLE[ANN], "")] == [True, False, False]


async def test_history_in_pages_with_threads(store: Redis) -> None:
    """More than a page, oldest first, with what was said in threads and without what is ours."""
    async with running(store) as account:
        first = account.say("first")
        await account.adapter.send(post("ours"))
        for number in range(205):
            account.say(f"later {number}", **({"tmid": first} if number % 2 else {}))
        await account.until(lambda: "later 204" in account.texts())
        at_ms = account.of(MessageNew)[0].at_ms
        found = await account.adapter.history(WHERE, Since(NativeId(first), at_ms))
        assert found.complete
        assert not found.more
        assert [event.text.plain for event in found.events] == [f"later {number}" for number in range(205)]


async def test_a_limit_in_the_middle_of_a_history_is_waited_for(store: Redis) -> None:
    """What was read by then is not asked for once more, or an account with a limit would never come to the end."""
    async with running(store, roles=("user",)) as account:
        for number in range(120):
            account.double.insert(ROOM, PEOPLE[ANN], {"msg": f"line {number}"})
        account.double.limit = (1, 0.3)
        account.double.requests.clear()
        found = await account.adapter.history(WHERE, Since(NativeId("x"), 1))
        assert len(found.events) == 120
        asked = [name for _, name, _ in account.double.requests if name.endswith("channels.history")]
        assert len(asked) == 3


async def test_what_became_of_older_messages(store: Redis) -> None:
    """Edits and deletions of the time when we were away are told, with the ids that they would have had; ours are not,
    nor is what was changed before, or only looked at."""
    async with running(store) as account:
        old, changed, gone, seen = [account.say(words) for words in ("old", "teh", "gone", "look")]
        account.double.update(old, PEOPLE[ANN], "older")
        mine = (await account.adapter.send(post("ours"))).natives[0]
        last = account.say("last")
        await account.until(lambda: "last" in account.texts())
        at_ms = account.of(MessageNew)[-1].at_ms
        await account.adapter.stop()
        account.double.update(changed, PEOPLE[ANN], "the")
        account.double.unfurl(seen, "a page")
        account.double.delete(gone)
        account.double.delete(mine)
        account.say("new")
        account.adapter = adapter_for(account.double, store)
        found = await account.adapter.history(WHERE, Since(NativeId(last), at_ms))
        edit, deletion, new = found.events
        assert isinstance(edit, MessageEdited)
        assert (edit.target, edit.text.plain) == (changed, "the")
        assert isinstance(deletion, MessageDeleted)
        assert (deletion.target, deletion.native) == (gone, f"{gone}/gone")
        assert isinstance(new, MessageNew)
        assert new.text.plain == "new"


async def test_history_where_changes_are_not_told(store: Redis) -> None:
    """A server that does not say what was changed is asked for what was said all the same."""
    async with running(store) as account:
        first = account.say("first")
        account.say("second")
        await account.until(lambda: "second" in account.texts())
        account.double.fail("GET chat.syncMessages", status=400, body={"success": False, "error": "no"})
        found = await account.adapter.history(WHERE, Since(NativeId(first), account.of(MessageNew)[0].at_ms))
        assert [event.text.plain for event in found.events if isinstance(event, MessageNew)] == ["second"]


async def test_a_silent_or_lost_connection_is_made_anew(store: Redis) -> None:
    """After every break the subscriptions stand again and what comes is heard, in order; pings are answered."""
    async with running(store) as account:
        for number in range(3):
            await account.double.cut()
            await account.until(lambda: not account.events.is_online)
            account.double.back()
            await account.until(lambda: account.events.is_online)
            account.say(f"after break {number}")
            await account.until(lambda n=number: f"after break {n}" in account.texts())  # type: ignore[misc]
        for line in account.double.lines_up:
            line.queue.put_nowait({"msg": "ping", "id": "p1"})
        await account.until(lambda: {"msg": "pong", "id": "p1"} in account.double.frames)
        assert account.texts() == [f"after break {number}" for number in range(3)]


async def test_a_lost_token_is_said(store: Redis) -> None:
    """The stream refuses it: the account is offline with words, and posts say that the login is lost."""
    async with running(store) as account:
        account.double.users[ME].tokens.clear()
        await account.double.cut()
        account.double.back()
        await account.until(lambda: any("token" in reason for reason in account.events.reasons))
        assert account.adapter._auth_lost


class FullStore(Recorder):
    """An ``Emit`` whose store is full for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.full = 0
        self.onlines = 0

    async def accepted(self) -> None:
        """Refuse twice."""
        if self.full:
            self.full -= 1
            raise StoreDown("full")

    def online(self) -> None:
        """Count."""
        self.onlines += 1
        super().online()


async def test_a_full_store_holds_the_stream_back(store: Redis) -> None:
    """Nothing more is read until the store takes what came; then the gap is looked up."""
    events = FullStore()
    async with running(store, events=events) as account:
        events.full = 2
        account.say("one")
        account.say("two")
        async with asyncio.timeout(10):
            while account.texts() != ["one", "two"] or events.onlines < 2:
                events.news.clear()
                await events.news.wait()
        assert events.full == 0
