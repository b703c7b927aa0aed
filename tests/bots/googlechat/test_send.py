"""Posting to Google Chat: what the double gets, and what each of its errors means to the relay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.contract import AuthLost, Offline, Rejected, Retry, Uncertain
from core.model import Author, Entity, MessageDeleted, MessageNew, NativeId, Text, room_id
from core.store import Redis
from core.text.safety import MASS_MENTIONS
from tests.bots.googlechat.support import ACCOUNT, World, world
from tests.fakes.googlechat_model import Failure, Fault
from tests.fakes.googlechat_text import calls, render_card

LIMIT = {"quota_limit": "MessageWritesPerMinutePerProject"}


async def test_a_post_is_made_once(store: Redis) -> None:
    """The same key again gives the same message, also when the answer was lost, and when Google forgot the request."""
    async with world(store, pubsub=False) as made:
        made.double.faults.append(Fault("/messages", cut="after"))
        with pytest.raises(Uncertain):
            await made.adapter.send(made.post())
        first = await made.adapter.send(made.post())
        made.double.requests_seen.clear()
        assert await made.adapter.send(made.post()) == first
        assert len(made.space.messages) == 1
        other = await made.adapter.send(made.post(key="k2"))
        assert other != first


ERRORS: list[tuple[Fault, type[Exception], dict[str, Any]]] = [
    (Fault("/messages", answer=Failure(429, "Quota exceeded")), Retry, {"whole_account": False, "after_s": 2.0}),
    (Fault("/messages", answer=Failure(429, "x"), headers={"Retry-After": "7"}), Retry, {"after_s": 7.0}),
    (Fault("/messages", answer=Failure(429, "x", LIMIT, "RATE_LIMIT_EXCEEDED")), Retry, {"whole_account": True}),
    (Fault("/messages", answer=Failure(500, "Internal error encountered.")), Uncertain, {}),
    (Fault("/messages", answer=Failure(503, "The service is currently unavailable.")), Uncertain, {}),
    (Fault("/messages", cut="before"), Uncertain, {}),
    (
        Fault("/messages", answer=Failure(400, "Message is odd.")),
        Rejected,
        {"reason": "Google Chat does not take it: Message is odd."},
    ),
    (Fault("/messages", answer=Failure(403, "The caller does not have permission")), Rejected, {}),
    (Fault("/messages", answer=Failure(404, "Space not found.")), Rejected, {}),
    (
        Fault("/messages", answer=Failure(403, "x", {"service": "chat.googleapis.com"}, "SERVICE_DISABLED")),
        AuthLost,
        {},
    ),
    (Fault("/messages", answer=Failure(403, "x", {}, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")), Rejected, {}),
]


@pytest.mark.parametrize(("fault", "kind", "facts"), ERRORS)
async def test_errors_mean_what_they_mean(
    store: Redis, fault: Fault, kind: type[Exception], facts: dict[str, Any]
) -> None:
    """Each answer of Google's becomes the one error that says what is known; the next post goes through."""
    async with world(store, pubsub=False) as made:
        made.double.faults.append(fault)
        with pytest.raises(kind) as caught:
            await made.adapter.send(made.post())
        assert not isinstance(caught.value, Offline)
        for name, value in facts.items():
            assert getattr(caught.value, name) == value
        assert len((await made.adapter.send(made.post())).natives) == 1
        assert len(made.space.messages) == 1


async def test_nobody_there_is_offline(store: Redis) -> None:
    """Without a connection nothing was sent, the operator is told, and the account comes back by itself."""
    async with world(store, pubsub=False) as made:
        made.adapter._api._tokens = None
        real, made.adapter._api.config = made.adapter._api.config, _elsewhere(made)
        with pytest.raises(Offline):
            await made.adapter.send(made.post())
        await made.until(lambda: not made.events.is_online)
        assert "not reachable" in made.events.reasons[-1]
        made.adapter._api.config = real
        made.adapter._api._tokens = None
        await made.until(lambda: made.events.is_online)
        await made.adapter.send(made.post())


def _elsewhere(made: World) -> Any:
    from msgspec.structs import replace

    return replace(made.adapter._api.config, token_url="http://127.0.0.1:1/token")


async def test_a_slow_answer_is_uncertain(store: Redis) -> None:
    """No answer in time: sent or not, nobody knows."""
    async with world(store, pubsub=False, timeout_s=0.2) as made:
        made.double.faults.append(Fault("/messages", delay_s=0.6))
        with pytest.raises(Uncertain):
            await made.adapter.send(made.post())


async def test_an_old_token_is_renewed(store: Redis) -> None:
    """A token that is no longer taken is replaced once; a key that is no longer taken is said so."""
    async with world(store, pubsub=False) as made:
        made.double.tokens.clear()
        await made.adapter.send(made.post())
        made.double.tokens.clear()
        made.double.key_name = "another-service-account"
        with pytest.raises(AuthLost, match="invalid_grant"):
            await made.adapter.send(made.post(key="k2"))
        await made.until(lambda: not made.events.is_online)


async def test_one_token_serves_many(store: Redis) -> None:
    """Posts at the same time wait for one grant."""
    async with world(store, pubsub=False) as made:
        grants = made.double.token_grants
        await asyncio.gather(*(made.adapter.send(made.post(key=f"k{n}")) for n in range(10)))
        assert made.double.token_grants == grants
        assert len(made.space.messages) == 10


async def test_the_rate_is_said(store: Redis) -> None:
    """The space's and the project's limits are claimed, and breaking them is a pause and no loss."""
    async with world(store, pubsub=False) as made:
        caps = made.adapter.capabilities(made.room)
        assert (caps.rate_per_s, caps.rate_burst, caps.account_rate_per_s) == (1.0, 1, 50.0)
        made.double.limits_rate = True
        await made.adapter.send(made.post())
        with pytest.raises(Retry):
            await made.adapter.send(made.post(key="k2"))


async def test_long_text_in_parts_and_edits_of_them(store: Redis) -> None:
    """Parts have their own ids; an edit changes them in place, takes away and adds, in the thread of the first."""
    async with world(store, pubsub=False, text_limit_bytes=400) as made:
        receipt = await made.adapter.send(made.post("word " * 200, max_parts=8))
        assert len(receipt.natives) == 3
        shorter = await made.adapter.edit(receipt.natives, made.post("short", "e1"))
        assert shorter.natives == receipt.natives[:1]
        assert list(made.space.messages) == list(shorter.natives)
        longer = await made.adapter.edit(shorter.natives, made.post("again " * 200, "e2"))
        assert longer.natives[0] == shorter.natives[0]
        assert len(longer.natives) > 2
        threads = {message["thread"]["name"] for message in made.space.messages.values()}
        assert len(threads) == 1
        cut = await made.adapter.send(made.post("word " * 900, "k9", max_parts=2))
        assert "… (cut)" in made.space.messages[cut.natives[-1]]["text"]


async def test_the_mask_and_syntax_of_an_edit(store: Redis) -> None:
    """An edit names its syntax, or Google takes the text as Chat's own."""
    async with world(store, pubsub=False) as made:
        receipt = await made.adapter.send(made.post("one"))
        await made.adapter.edit(receipt.natives, made.post(Text("two", (Entity("bold", 0, 3),)), "e1"))
        message = made.space.messages[receipt.natives[0]]
        assert (message["text"], message["markupSyntax"]) == ("**two**", "MARKUP_SYNTAX_MARKDOWN")


async def test_replies_follow_googles_rules(store: Redis) -> None:
    """A root is quoted by a root, a message in a thread in its thread; what changed meanwhile is quoted as it is now;
    where Google takes no quote, the words go out without it."""
    async with world(store, pubsub=False) as made:
        root = made.people.said(made.space, made.ann, "root")
        root_id = NativeId(root["name"].rpartition("/")[2])
        below = made.people.said(made.space, made.bob, "below", thread=root_id.partition(".")[0])
        below_id = NativeId(below["name"].rpartition("/")[2])
        made.people.edit(made.space, root_id, "the root")
        one = (await made.adapter.send(made.post("to the root", "r1", reply_to=root_id))).natives[0]
        two = (await made.adapter.send(made.post("to below", "r2", reply_to=below_id))).natives[0]
        assert made.space.messages[one]["quotedMessageMetadata"]["name"] == root["name"]
        assert not made.space.messages[one]["threadReply"]
        assert made.space.messages[two]["quotedMessageMetadata"]["name"] == below["name"]
        assert made.space.messages[two]["thread"] == below["thread"]
        made.double.faults.append(Fault("/messages", answer=Failure(400, "Quoting is not available.")))
        three = (await made.adapter.send(made.post("anyway", "r3", reply_to=root_id))).natives[0]
        assert "quotedMessageMetadata" not in made.space.messages[three]
        four = (await made.adapter.send(made.post("gone", "r4", reply_to=NativeId("no.such")))).natives[0]
        assert made.space.messages[four]["text"] == "gone"


async def test_no_quote_leads_to_another_space(store: Redis) -> None:
    """An id of another space's message quotes nothing here."""
    async with world(store, pubsub=False) as made:
        other = made.people.space("AAQAother", "Other", made.bob)
        other.has_app = True
        secret = made.people.said(other, made.bob, "a secret")
        native = NativeId(secret["name"].rpartition("/")[2])
        receipt = await made.adapter.send(made.post("hello", reply_to=native))
        assert "quotedMessageMetadata" not in made.space.messages[receipt.natives[0]]
        evil = NativeId(f"../../AAQAother/messages/{native}")
        receipt = await made.adapter.send(made.post("hello", "k2", reply_to=evil))
        assert "quotedMessageMetadata" not in made.space.messages[receipt.natives[0]]


async def test_no_threads_where_there_are_none(store: Redis) -> None:
    """A direct message has no threads, so none is claimed and none is asked for."""
    async with world(store, pubsub=False) as made:
        direct = made.people.space("DMann", "", made.ann, kind="DIRECT_MESSAGE", threading="UNTHREADED_MESSAGES")
        await made.people.add_app(direct, made.ann)
        room = room_id(ACCOUNT, direct.id)
        assert made.adapter.capabilities(room).thread == "fallback"
        assert made.adapter.capabilities(made.room).thread == "full"
        assert made.adapter.room_info(room).title == "a direct message"
        await made.people.say(direct, made.ann, "hello")
        said = (await made.of(MessageNew))[0]
        assert (said.room, said.text.plain) == (room, "hello")


async def test_cards_show_the_author(store: Redis) -> None:
    """With cards, a post stands under its author's name and picture; the bot's own words are plain messages."""
    async with world(store, pubsub=False, cards=True) as made:
        caps = made.adapter.capabilities(made.room)
        assert (caps.names, caps.avatars) == ("full", "full")
        alice = Author("u1", "Alice <b>", "https://pictures.example.org/alice.png")
        text = Text(
            "see *this* page\n<users/all>",
            (Entity("bold", 4, 6), Entity("link", 11, 4, "https://example.org/?a=1&b=2")),
        )
        receipt = await made.adapter.send(made.post(text, author=alice))
        message = made.space.messages[receipt.natives[0]]
        header = message["cardsV2"][0]["card"]["header"]
        assert header == {"title": "Alice <b>", "imageUrl": alice.avatar_url, "imageType": "CIRCLE"}
        written = message["cardsV2"][0]["card"]["sections"][0]["widgets"][0]["textParagraph"]["text"]
        shown, entities = render_card(written)
        assert shown.replace("\u200b", "") == text.plain
        assert [(one.type, one.value) for one in entities] == [("bold", ""), ("link", "https://example.org/?a=1&b=2")]
        await made.adapter.edit(receipt.natives, made.post("changed", "e1", author=alice))
        assert "changed" in str(made.space.messages[receipt.natives[0]]["cardsV2"])
        bot = await made.adapter.send(made.post("I am the bot", "k2", author=None))
        assert made.space.messages[bot.natives[0]]["text"] == "I am the bot"


@pytest.mark.parametrize("cards", [False, True])
async def test_nobody_is_called(store: Redis, cards: bool) -> None:
    """None of the ways to call a room reaches Google alive, in text and in cards."""
    async with world(store, pubsub=False, cards=cards) as made:
        for number, words in enumerate(MASS_MENTIONS):
            await made.adapter.send(made.post(f"{words} `{words}`", f"k{number}"))
        assert len(made.space.messages) == len(MASS_MENTIONS)
        assert not [call for message in made.space.messages.values() for call in calls(str(message))]


async def test_our_deletions_do_not_come_back(store: Redis) -> None:
    """A post that we delete is gone, twice is no error, and is not heard; a person's deletion of it is."""
    async with world(store) as made:
        ours = await made.adapter.send(made.post("ours"))
        more = await made.adapter.send(made.post("more", "k2"))
        await made.adapter.delete(made.room, ours.natives)
        await made.adapter.delete(made.room, ours.natives)
        made.people.delete(made.space, more.natives[0], "SPACE_OWNER")
        found = await made.of(MessageDeleted)
        assert [event.target for event in found] == [more.natives[0]]


async def test_files_come_from_the_chat_api_only(store: Redis) -> None:
    """Whatever a reference holds, nothing is asked of anybody but the Chat API, and nothing but attachments."""
    async with world(store, pubsub=False) as made:
        seen = len(made.double.transcript)
        for ref in (
            "http://127.0.0.1:1/x",
            "//evil.example/x",
            "../spaces",
            "a/../../spaces",
            "",
            "x?alt=media",
            "a#b",
        ):
            with pytest.raises(Rejected):
                await anext(made.adapter.open_file(ref))
        assert len(made.double.transcript) == seen


async def test_endless_files_are_cut_off(store: Redis) -> None:
    """A file beyond the limit ends in a refusal and not in memory."""
    async with world(store, pubsub=False, max_file_bytes=100_000) as made:
        made.double.media["big=="] = bytes(5_000_000)
        taken: list[int] = []

        async def read() -> None:
            async for chunk in made.adapter.open_file("big=="):
                taken.append(len(chunk))

        with pytest.raises(Rejected, match="larger"):
            await read()
        assert sum(taken) <= 100_000


async def test_who_runs_the_space(store: Redis) -> None:
    """Its managers do, as Google says at that moment; in a direct message whoever is in it."""
    async with world(store, pubsub=False) as made:
        assert await made.adapter.is_admin(made.room, made.ann)
        assert not await made.adapter.is_admin(made.room, made.bob)
        made.space.members[made.ann] = "ROLE_MEMBER"
        assert not await made.adapter.is_admin(made.room, made.ann)
        for stranger in ("users/999", "users/../spaces", "Ann", "", "users/app"):
            assert not await made.adapter.is_admin(made.room, stranger)
        direct = made.people.space("DMann", "", made.ann, kind="DIRECT_MESSAGE", threading="UNTHREADED_MESSAGES")
        await made.people.add_app(direct, made.ann)
        assert await made.adapter.is_admin(room_id(ACCOUNT, direct.id), made.ann)
        assert not await made.adapter.is_admin(room_id(ACCOUNT, direct.id), made.bob)
