"""How an account posts, also when things break: every error says whether it was sent, and nothing is there twice."""

from __future__ import annotations

from typing import Any

import pytest

from core.contract import AuthLost, Offline, Rejected, Retry, Uncertain
from core.model import Author, Entity, NativeId, Reaction, Text
from core.store import Redis
from tests.bots.rocketchat.scene import TOKEN
from tests.bots.rocketchat.support import ALICE, ME, PEOPLE, ROOM, WHERE, out, post, running
from tests.contract.scene import BOB

SLOW = {
    "success": False,
    "error": "Error, too many requests. You must wait 42 seconds before [error-too-many-requests]",
}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 429, "body": SLOW}, Retry),
        ({"status": 400, "body": {"success": False, "errorType": "error-too-many-requests"}}, Retry),
        ({"status": 502}, Uncertain),
        ({"drop": "before"}, Uncertain),
        ({"drop": "after"}, Uncertain),
        ({"status": 401}, AuthLost),
        ({"status": 400, "body": {"success": False, "error": "error-not-allowed"}}, Rejected),
        ({"status": 403}, Rejected),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}}, Rejected),
    ],
)
async def test_errors_say_whether_it_was_sent(store: Redis, fault: dict[str, Any], error: type[Exception]) -> None:
    """Each failure is what the contract calls it, and the next try posts the message exactly once."""
    async with running(store) as account:
        account.double.fail("POST chat.sendMessage", **fault)
        with pytest.raises(error) as raised:
            await account.adapter.send(post("once"))
        if isinstance(raised.value, Retry):
            assert raised.value.whole_account
            assert raised.value.after_s == (42.0 if fault["status"] == 429 else 10.0)
        for fails in (False, True):
            account.double.duplicates_fail = fails
            assert (await account.adapter.send(post("once"))).natives
        assert [line["msg"] for line in account.lines()] == ["once"]


async def test_nobody_answers_at_all(store: Redis) -> None:
    """Without a server nothing was sent, and the error says so."""
    async with running(store, start=False, url="http://127.0.0.1:9") as account:
        with pytest.raises(Offline):
            await account.adapter.send(post("anybody there?"))


async def test_the_reset_header_says_how_long(store: Redis) -> None:
    """Without the bot role ten calls a minute are taken; the capabilities say so, and a 429 says until when."""
    async with running(store, roles=("user",)) as account:
        caps = account.adapter.capabilities(WHERE)
        assert (caps.names, caps.avatars, caps.account_rate_per_s) == ("fallback", "drop", 10 / 60)
        account.double.limit = (2, 30.0)
        for number in range(2):
            await account.adapter.send(post(f"line {number}", f"k{number}"))
        with pytest.raises(Retry) as raised:
            await account.adapter.send(post("line 2", "k2"))
        assert 25 < raised.value.after_s <= 31
        assert "alias" not in account.lines()[0]


async def test_names_and_pictures_where_they_are_allowed(store: Redis) -> None:
    """The bot role posts under the author's name and picture; the bot's own words are its own; when the permission is
    taken away names go into the text from then on."""
    async with running(store) as account:
        caps = account.adapter.capabilities(WHERE)
        assert (caps.names, caps.avatars, caps.account_rate_per_s) == ("full", "full", 0.0)
        await account.adapter.send(post("hi"))
        await account.adapter.send(post("pong", "k2", author=None))
        await account.adapter.send(post("odd", "k3", author=Author("u", "@all", "ftp://x/y")))
        said, own, odd = account.lines()
        assert (said["alias"], said["avatar"]) == ("Alice", ALICE.avatar_url)
        assert own.keys().isdisjoint({"alias", "avatar"})
        assert (odd["alias"], odd.get("avatar")) == ("@\u200ball", None)
        account.double.permissions["message-impersonate"] = []
        with pytest.raises(Retry):
            await account.adapter.send(post("again", "k4"))
        assert account.adapter.capabilities(WHERE).names == "fallback"
        await account.adapter.send(post("Alice: again", "k4"))
        assert "alias" not in account.lines()[-1]


async def test_the_servers_own_limit_is_kept(store: Redis) -> None:
    """Message_MaxAllowedSize is read from the public settings, and counts escapes."""
    async with running(store, start=False) as account:
        account.double.settings |= {"Message_MaxAllowedSize": 300, "FileUpload_Enabled": False}
        await account.adapter.start(account.events)
        await account.until(lambda: account.events.is_online)
        caps = account.adapter.capabilities(WHERE)
        assert (caps.text_limit, caps.file) == (300, "fallback")
        receipt = await account.adapter.send(post("w*rd " * 100))
        assert len(receipt.natives) > 1
        assert [line["_id"] for line in account.lines()] == list(receipt.natives)


async def test_a_rate_limit_in_the_middle_of_a_long_post(store: Redis) -> None:
    """The parts that are there stay, the others follow, nothing is there twice."""
    async with running(store) as account:
        account.double.permissions["api-bypass-rate-limit"] = []
        account.double.limit = (1, 60.0)
        with pytest.raises(Retry):
            await account.adapter.send(post("word " * 2500))
        account.double.limit = (100, 60.0)
        receipt = await account.adapter.send(post("word " * 2500))
        assert [line["_id"] for line in account.lines()] == list(receipt.natives)
        assert " ".join(line["msg"] for line in account.lines()).split() == ["word"] * 2500


async def test_read_only_rooms_and_lost_rooms_are_refused_in_words(store: Redis) -> None:
    """What will never work says what to do."""
    async with running(store) as account:
        account.double.rooms[ROOM].ro = True
        with pytest.raises(Rejected, match="read-only"):
            await account.adapter.send(post("hi"))
        account.double.remove(ROOM, ME, PEOPLE[BOB])
        with pytest.raises(Rejected, match="not in it"):
            await account.adapter.send(post("hi", "k2"))


async def test_edits_change_the_parts_in_place(store: Redis) -> None:
    """A shorter text deletes parts, a longer one adds some, an answer stays one, and a file stays where it is."""
    async with running(store) as account:
        asked = account.say("a question")
        receipt = await account.adapter.send(
            post("long " * 2500, reply_to=NativeId(asked), files=(out("a.png", b"x"),))
        )
        assert len(receipt.natives) == 4
        shorter = await account.adapter.edit(receipt.natives, post("short", "k2"))
        assert shorter.natives == (receipt.natives[0], receipt.natives[3])
        assert account.lines()[0]["attachments"][0]["message_link"].endswith(f"?msg={asked}")
        longer = await account.adapter.edit(shorter.natives, post("long again " * 800, "k3"))
        assert sorted(line["_id"] for line in account.lines()) == sorted(longer.natives)
        await account.adapter.delete(WHERE, longer.natives)
        await account.adapter.delete(WHERE, longer.natives)
        assert account.lines() == []
        with pytest.raises(Rejected):
            await account.adapter.edit(longer.natives, post("too late", "k4"))


async def test_one_reaction_stands_for_many(store: Redis) -> None:
    """It goes when the last who wants it takes it back; an emoji that the server lacks is said in words, once."""
    async with running(store) as account:
        native, react = NativeId(account.say("react to this")), account.adapter.react
        bob = Author("u2", "Rob")

        def standing() -> list[str]:
            found = account.double.find(native)
            assert found
            return list(found[1].get("reactions", {}))

        await react(WHERE, native, "👍", True, ALICE)
        await react(WHERE, native, "👍🏽", True, bob)
        await react(WHERE, native, "👍", False, ALICE)
        assert standing() == [":thumbsup:"]
        await react(WHERE, native, "👍🏽", False, bob)
        assert standing() == []
        for _ in range(2):
            await react(WHERE, native, "🦄", True, ALICE)
        (said,) = account.lines()
        assert said["msg"].endswith("(Alice reacted 🦄)")
        await account.settled()
        assert account.of(Reaction) == []


async def test_typing_is_told_now_and_then(store: Redis) -> None:
    """As the bot's user, by the name that the server wants, and not with every key."""
    async with running(store) as account:
        for _ in range(3):
            await account.adapter.typing(WHERE, ALICE)
        await account.until(lambda: account.double.typed)
        await account.settled()
        assert account.double.typed == [(ROOM, "bridge")]


async def test_a_link_with_a_name_is_one(store: Redis) -> None:
    """As the server's own users see it."""
    async with running(store) as account:
        await account.adapter.send(post(Text("see the docs", (Entity("link", 8, 4, "https://example.org/d"),))))
        link = account.lines()[0]["md"][0]["value"][1]
        assert (link["type"], link["value"]["src"]["value"]) == ("LINK", "https://example.org/d")


async def test_the_password_gives_a_token_and_a_new_one_later(store: Redis) -> None:
    """Signing in by password; when the token is gone another one is fetched, and nobody notices."""
    async with running(store, start=False, user_id="", token="", user="bridge", password="pw") as account:
        user = account.double.users[ME]
        user.password = "pw"
        await account.adapter.send(post("by password"))
        user.tokens.clear()
        await account.adapter.send(post("again", "k2"))
        assert len(account.lines()) == 2
        user.tokens.clear()
        user.password = "changed"
        with pytest.raises(AuthLost):
            await account.adapter.send(post("no more", "k3"))


async def test_the_token_is_in_no_address(store: Redis) -> None:
    """Neither REST nor the stream has it in a URL."""
    async with running(store) as account:
        await account.adapter.send(post("x", files=(out("a.png", b"x"),)))
        assert TOKEN not in account.adapter._config.stream
        assert not [1 for _, path, _ in account.double.requests if TOKEN in path]
