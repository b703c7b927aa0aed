"""An account that is a member of groups: what it hears by the push service and how it posts, also when things break."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bots.groupme.speaker import OURS, guid
from core.contract import AuthLost, Offline, Rejected, Retry, Since, Uncertain
from core.model import (
    BotAdded,
    BotRemoved,
    Entity,
    Joined,
    Left,
    MessageDeleted,
    MessageNew,
    NativeId,
    Reaction,
    RoomRenamed,
    Text,
    Typing,
)
from core.store import Redis, StoreDown
from tests.bots.groupme.scene import ME, PEOPLE
from tests.bots.groupme.support import ALICE, ANN, BOB, GM, GROUP, ROOM, member, post
from tests.contract.stage import Recorder


async def test_groups_that_were_there_before_are_not_greeted(store: Redis) -> None:
    """The first look at the groups greets nobody; a group that came while we were away is greeted at the next."""
    async with member(store) as account:
        assert account.of(BotAdded) == []
        account.double.push.cut()
        account.double.group("555", "Pond", PEOPLE[ANN], ME)
        account.double.push.back()
        await account.until(lambda: account.of(BotAdded))
        (added,) = account.of(BotAdded)
        assert (added.room, added.title) == (f"{GM}/555", "Pond")
        assert account.adapter.room_info(ROOM).title == "Garden"


async def test_members_come_and_go_and_the_group_is_renamed(store: Redis) -> None:
    """System messages are what they mean, and never text; what concerns us is our own coming and going."""
    async with member(store) as account:
        account.double.user("70000003", "Cid")
        account.double.add(GROUP, "70000003", PEOPLE[ANN])
        account.double.rename(GROUP, PEOPLE[ANN], "Orchard")
        account.double.remove(GROUP, "70000003", PEOPLE[ANN])
        account.double.remove(GROUP, ME, PEOPLE[ANN])
        await account.until(lambda: account.of(BotRemoved))
        assert [event.author.name for event in account.of(Joined)] == ["Cid"]
        assert [event.author.name for event in account.of(Left)] == ["Cid"]
        assert [event.title for event in account.of(RoomRenamed)] == ["Orchard"]
        assert account.adapter.room_info(ROOM).title == "Orchard"
        assert account.texts() == []
        with pytest.raises(Rejected):
            await account.adapter.send(post("nobody hears this"))


async def test_what_the_owner_types_by_hand_is_heard(store: Redis) -> None:
    """Our own posts are known by their mark: the user's own words, typed in the app, are a person's; another's words
    with our mark are another's."""
    async with member(store) as account:
        await account.adapter.send(post("posted by us"))
        account.double.say(GROUP, ME, "typed by hand")
        account.say("says Ann", source_guid=OURS + "forged")
        await account.until(lambda: "says Ann" in account.texts())
        assert account.texts() == ["typed by hand", "says Ann"]


async def test_the_same_key_is_posted_once_even_after_a_minute(store: Redis) -> None:
    """GroupMe forgets a source_guid after a minute; we look for it then."""
    async with member(store) as account:
        first = await account.adapter.send(post("a " * 900))
        account.double._guids.clear()
        assert await account.adapter.send(post("a " * 900)) == first
        assert len(account.double.lines(GROUP)) == len(first.natives) == 2


async def test_a_conflict_is_a_success(store: Redis) -> None:
    """A 409 means that the message is there: its id is looked up."""
    async with member(store) as account:
        native = account.double.say(GROUP, ME, "there already", source_guid=guid(GM, "k1", 0))
        account.double._guids[ME, guid(GM, "k1", 0)] = asyncio.get_running_loop().time() + 10**6
        receipt = await account.adapter.send(post("there already"))
        assert receipt.natives == (native,)
        assert len(account.double.lines(GROUP)) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 420}, Retry),
        ({"status": 429, "headers": {"Retry-After": "7"}}, Retry),
        ({"status": 503, "headers": {"Retry-After": "3"}}, Retry),
        ({"status": 500}, Uncertain),
        ({"status": 502}, Uncertain),
        ({"status": 401}, AuthLost),
        ({"status": 400}, Rejected),
        ({"status": 403}, Rejected),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}}, Rejected),
        ({"drop": "before"}, Uncertain),
        ({"drop": "after"}, Uncertain),
    ],
)
async def test_errors_say_whether_it_was_sent(store: Redis, fault: dict[str, Any], error: type[Exception]) -> None:
    """Each failure is what the contract calls it, and the next try posts the message exactly once."""
    async with member(store) as account:
        account.double.fail(f"POST /v3/groups/{GROUP}/messages", **fault)
        with pytest.raises(error) as raised:
            await account.adapter.send(post("once"))
        assert type(raised.value).__name__ in (error.__name__, "NotThere")
        if isinstance(raised.value, Retry):
            assert raised.value.after_s == float(fault.get("headers", {}).get("Retry-After", 1))
        assert (await account.adapter.send(post("once"))).natives
        assert [line["text"] for line in account.double.lines(GROUP)] == ["once"]


async def test_nobody_answers_at_all(store: Redis) -> None:
    """Without a connection nothing was sent, and the error says so."""
    async with member(store, start=False, api_url="http://127.0.0.1:9/v3") as account:
        with pytest.raises(Offline):
            await account.adapter.send(post("anybody there?"))


async def test_a_rate_limit_in_the_middle_of_a_long_post(store: Redis) -> None:
    """The parts that are there stay, the others follow, nothing is there twice."""
    async with member(store) as account:
        account.double.rate = (1, 60.0)
        with pytest.raises(Retry):
            await account.adapter.send(post("word " * 500))
        account.double.rate = (100, 1.0)
        receipt = await account.adapter.send(post("word " * 500))
        lines = account.double.lines(GROUP)
        assert [line["id"] for line in lines] == list(receipt.natives)
        assert " ".join(line["text"] for line in lines).split() == ["word"] * 500


async def test_edits_change_the_parts_in_place(store: Redis) -> None:
    """A shorter text deletes parts, a longer one adds some, and a picture stays where it was."""
    async with member(store) as account:
        picture = {"type": "image", "url": account.double.picture(b"png")}
        receipt = await account.adapter.send(post("long " * 500))
        account.double.find(GROUP, receipt.natives[0])["attachments"] = [picture]
        shorter = await account.adapter.edit(receipt.natives, post("short", "k2"))
        assert shorter.natives == receipt.natives[:1]
        (line,) = account.double.lines(GROUP)
        assert (line["text"], line["attachments"]) == ("short", [picture])
        longer = await account.adapter.edit(shorter.natives, post("long again " * 150, "k3"))
        assert [line["id"] for line in account.double.lines(GROUP)] == list(longer.natives)
        assert len(longer.natives) == 2
        await account.adapter.delete(ROOM, longer.natives)
        await account.adapter.delete(ROOM, longer.natives)
        assert account.double.lines(GROUP) == []
        with pytest.raises(Rejected):
            await account.adapter.edit(longer.natives, post("too late", "k4"))


async def test_one_reaction_stands_for_many(store: Redis) -> None:
    """The user has one reaction: the newest wish that still stands is shown, and none when all are taken back."""
    async with member(store) as account:
        native = NativeId(account.say("react to this"))
        bob, react = type(ALICE)("u2", "Rob"), account.adapter.react

        def shown() -> list[str]:
            return [entry["code"] for entry in account.double.find(GROUP, native).get("reactions", [])]

        await react(ROOM, native, "👍", True, ALICE)
        await react(ROOM, native, "😂", True, bob)
        assert shown() == ["🤣"]
        await react(ROOM, native, "😂", False, bob)
        assert shown() == ["👍"]
        await react(ROOM, native, "👍", False, ALICE)
        assert shown() == []
        await react(ROOM, native, "🦄", True, ALICE)
        await react(ROOM, native, "🦄", True, ALICE)
        said = [line for line in account.double.lines(GROUP) if line["user_id"] == ME]
        assert [line["text"] for line in said] == ["(Alice reacted 🦄)"]
        assert said[0]["attachments"][0]["reply_id"] == native
        assert account.of(Reaction) == []


async def test_a_changed_reaction_is_one_gone_and_one_come(store: Redis) -> None:
    """GroupMe only tells what stands now: the difference is worked out, also when it is told on two channels."""
    async with member(store) as account:
        native = (await account.adapter.send(post("our post"))).natives[0]
        for emoji in ("👍", "🔥", ""):
            account.double.react(GROUP, native, PEOPLE[BOB], emoji)
        await account.until(lambda: len(account.of(Reaction)) >= 4)
        account.say("the end")
        await account.until(lambda: account.texts())
        changes = [(event.emoji, event.added) for event in account.of(Reaction)]
        assert changes == [("👍", True), ("👍", False), ("🔥", True), ("🔥", False)]
        assert {event.author.name for event in account.of(Reaction)} == {"Bob"}


async def test_only_real_mentions_call_somebody(store: Redis) -> None:
    """A member under the member's own name is mentioned; a stranger's id, another name or everybody is not."""
    async with member(store) as account:
        bob = PEOPLE[BOB]
        for number, (words, person) in enumerate([("@Bob", bob), ("@Bob", "U1"), ("@all", bob), ("@everyone", "")]):
            text = Text(f"{words} look", (Entity("mention", 0, len(words), person),))
            await account.adapter.send(post(text, f"m{number}"))
        found = [line["attachments"] for line in account.double.lines(GROUP)]
        assert found == [[{"type": "mentions", "user_ids": [bob], "loci": [[0, 4]]}], [], [], []]


async def test_an_old_handshake_is_renewed_and_the_gap_can_be_read(store: Redis) -> None:
    """When the server forgets us we shake hands at once and say that we are online again; history has the gap."""
    async with member(store) as account:
        before = account.say("before")
        await account.until(lambda: account.texts() == ["before"])
        account.events.is_online = False
        account.double.push.forget_clients()
        account.say("in the gap")
        account.say("deleted since then")
        account.double.delete(GROUP, account.double.lines(GROUP)[-1]["id"])
        await account.until(lambda: account.events.is_online)
        assert account.events.reasons == []
        found = await account.adapter.history(ROOM, Since(NativeId(before), 0))
        assert [event.text.plain for event in found.events if isinstance(event, MessageNew)] == ["in the gap"]
        odd = await account.adapter.history(ROOM, Since(NativeId("like:x"), 1000 * 10**9))
        assert [event.text.plain for event in odd.events if isinstance(event, MessageNew)] == ["before", "in the gap"]


async def test_history_comes_in_pages(store: Redis) -> None:
    """More than a page: what is there is given, and that there is more."""
    async with member(store) as account:
        first = account.say("first")
        for number in range(105):
            account.say(f"later {number}")
        page = await account.adapter.history(ROOM, Since(NativeId(first), 0))
        assert page.more
        rest = await account.adapter.history(ROOM, Since(page.events[-1].native, 0))
        assert not rest.more
        assert [e.text.plain for e in (*page.events, *rest.events)] == [f"later {n}" for n in range(105)]


async def test_long_polls_where_websockets_do_not_get_through(store: Redis) -> None:
    """A proxy that breaks websockets: the same by HTTP, in order, and typing out as well."""
    async with member(store, start=False) as account:
        account.double.push.refuse_sockets = True
        await account.adapter.start(account.events)
        await account.until(lambda: account.double.push.subscribers(f"/group/{GROUP}"))
        for number in range(5):
            account.say(f"line {number}")
        account.double.type(GROUP, PEOPLE[BOB])
        await account.until(lambda: account.of(Typing))
        assert account.texts() == [f"line {number}" for number in range(5)]
        await account.adapter.typing(ROOM, ALICE)
        await account.adapter.typing(ROOM, ALICE)
        await account.until(lambda: account.double.push.typed)
        assert [channel for channel, _, _ in account.double.push.typed] == [f"/group/{GROUP}"]


async def test_connects_are_repeated_and_the_service_may_go_away(store: Redis) -> None:
    """Many short connects, then no service for a while: what is said after it is heard."""
    async with member(store, start=False) as account:
        account.double.push.timeout_ms = 50
        await account.adapter.start(account.events)
        await account.until(lambda: account.events.is_online)
        for number in range(3):
            account.say(f"beat {number}")
            await account.until(lambda n=number: f"beat {n}" in account.texts())
        account.double.push.cut()
        await account.until(lambda: account.events.reasons)
        assert not account.events.is_online
        account.double.push.back()
        await account.until(lambda: account.events.is_online)
        account.say("after it")
        await account.until(lambda: "after it" in account.texts())
        assert account.double.push.handshakes >= 2


async def test_a_token_that_is_no_longer_good(store: Redis) -> None:
    """The account says so, and posts wait for the operator."""
    async with member(store, start=False, token="revoked") as account:
        await account.adapter.start(account.events)
        await account.until(lambda: account.events.reasons)
        assert "dev.groupme.com" in account.events.reasons[0]
        with pytest.raises(AuthLost):
            await account.adapter.send(post("no"))


class Stalling(Recorder):
    """An ``Emit`` whose store takes nothing for a while."""

    stalled = 3
    told_online = 0

    async def accepted(self) -> None:
        """Refuse the first times."""
        if self.stalled and self.seen:
            self.stalled -= 1
            raise StoreDown("stalled")

    def online(self) -> None:
        """Count."""
        self.told_online += 1
        super().online()


async def test_a_stalled_store_holds_the_stream_back(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is durable nothing more is read; afterwards the gap is looked up."""
    monkeypatch.setattr("bots.groupme.user.FULL_STORE_S", 0.01)
    async with member(store, start=False) as account:
        account.events = Stalling()
        await account.adapter.start(account.events)
        await account.until(lambda: account.double.push.subscribers(f"/group/{GROUP}"))
        account.say("one")
        account.say("two")
        await account.until(lambda: account.texts() == ["one", "two"])
        assert account.events.stalled == 0
        assert account.events.told_online == 2


async def test_deletions_are_heard_from_both_channels(store: Redis) -> None:
    """A deletion is told twice under one id, so that it happens once."""
    async with member(store) as account:
        native = account.say("oops")
        account.double.delete(GROUP, native)
        await account.until(lambda: len(account.of(MessageDeleted)) == 2)
        assert {(event.native, event.target) for event in account.of(MessageDeleted)} == {(f"deleted:{native}", native)}


async def test_who_runs_the_group(store: Redis) -> None:
    """Owner and admins do, by their ids; a name grants nothing."""
    async with member(store) as account:
        assert await account.adapter.is_admin(ROOM, PEOPLE[ANN])
        assert not await account.adapter.is_admin(ROOM, PEOPLE[BOB])
        assert not await account.adapter.is_admin(f"{GM}/999", PEOPLE[ANN])


async def test_the_token_is_in_no_address(store: Redis) -> None:
    """Requests carry the token in a header only."""
    async with member(store) as account:
        await account.adapter.send(post("hello"))
        await account.adapter.ping(ROOM)
        assert len(account.double.requests) > 3
        assert not account.double.token_in_address
