"""Events that Google posts: who may post them, what they become, and what happens when they cannot be taken."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import aiohttp
import jwt
import pytest

from core.model import BotAdded, BotRemoved, MessageNew, RoomRenamed
from core.store import Redis
from tests.bots.googlechat.support import AT_S, world
from tests.fakes import googlechat_keys as keys
from tests.fakes.googlechat_model import Fault

BAD_CLAIMS: list[tuple[str, dict[str, Any]]] = [
    ("project", {"iss": "evil@system.gserviceaccount.com"}),
    ("project", {"iss": "https://accounts.google.com"}),
    ("project", {"iss": None}),
    ("project", {"aud": "999999999999"}),
    ("project", {"aud": ["123456789012"]}),
    ("project", {"aud": 123456789012}),
    ("project", {"aud": None}),
    ("project", {"exp": AT_S - 31}),
    ("project", {"exp": None}),
    ("project", {"exp": "soon"}),
    ("project", {"exp": True}),
    ("project", {"iat": AT_S + 301}),
    ("project", {"iat": None}),
    ("url", {"iss": "https://accounts.evil.example"}),
    ("url", {"aud": "https://elsewhere.example/events"}),
    ("url", {"email": "evil@system.gserviceaccount.com"}),
    ("url", {"email": None}),
    ("url", {"email_verified": False}),
    ("url", {"email_verified": "true"}),
    ("url", {"email_verified": None}),
    ("url", {"exp": AT_S - 3600}),
]


@pytest.mark.parametrize(("audience", "claims"), BAD_CLAIMS)
async def test_tokens_with_wrong_claims_are_refused(store: Redis, audience: str, claims: dict[str, Any]) -> None:
    """A token of Google's for somebody else, of somebody else's, or out of date is 401 and touches nothing."""
    async with world(store, pubsub=False, audience=audience, started=False) as made:
        event = made.people.event("ADDED_TO_SPACE", made.space, made.ann)
        assert await made.people.post(event, made.people.token(**claims)) == 401
        assert made.events.seen == []
        assert await store.dbsize() == 0


@pytest.mark.parametrize("audience", ["project", "url"])
async def test_both_kinds_of_tokens_are_taken(store: Redis, audience: str) -> None:
    """A good token of the kind that was chosen is 200, and the other kind is not taken."""
    async with world(store, pubsub=False, audience=audience, started=False) as made:
        assert await made.people.add_app(made.space, made.ann) == 200
        made.people.audience = "url" if audience == "project" else "project"
        event = made.people.event("ADDED_TO_SPACE", made.space, made.ann)
        assert await made.people.post(event) == 401
        assert len(made.events.seen) == 1


def forged(claims: dict[str, Any]) -> list[str]:
    """Tokens that are not signed by Google."""
    head = {"kid": "chat-key-1", "typ": "JWT"}
    public = keys.certificate("chat-key-1")
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    def header(**more: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(head | more).encode()).rstrip(b"=").decode()

    good = keys.signed("chat-key-1", claims)
    return [
        jwt.encode(claims, "", algorithm="none", headers=head),
        jwt.encode(claims, "s" * 64, algorithm="HS256", headers=head),
        f"{header(alg='HS256')}.{part}.{base64.urlsafe_b64encode(public.encode()[:32]).decode()}",
        keys.signed("another-key", claims, kid="chat-key-1"),
        keys.signed("another-key", claims, kid="another-key"),
        keys.signed("chat-key-1", claims, alg="RS512"),
        f"{good[:-8]}AAAAAAAA",
        good.replace(".", "", 1),
        f"{header(alg='RS256')}.{part}.",
        f"{header(alg='RS256', kid=['chat-key-1'])}.{part}.x",
        f"{header(alg='RS256', crit=['x'])}.{part}.x",
        "e30.e30.e30",
        "a.b.c",
        "x" * 8000,
    ]


async def test_forged_tokens_are_refused(store: Redis) -> None:
    """No algorithm but RS256 and no key but Google's signs; whatever the form, it is 401."""
    async with world(store, pubsub=False, started=False) as made:
        event = made.people.event("ADDED_TO_SPACE", made.space, made.ann)
        claims = jwt.decode(made.people.token(), options={"verify_signature": False})
        for token in forged(claims):
            assert await made.people.post(event, token) == 401, token[:80]
        assert made.events.seen == []


async def raw(made: Any, body: bytes | io.BytesIO, headers: list[tuple[str, str]]) -> int:
    """Post bytes with headers as they are."""
    async with aiohttp.ClientSession() as session, session.post(made.people.endpoint, data=body, headers=headers) as r:
        return r.status


async def test_malformed_authorization_is_never_an_error_of_ours(store: Redis) -> None:
    """Headers that are missing, doubled, empty or no text are 401."""
    async with world(store, pubsub=False, started=False) as made:
        good = f"Bearer {made.people.token()}"
        for values in ([], [""], ["Bearer"], ["Bearer "], ["Basic abc"], [good, good], ["Bearer \udcff\udcfe"], ["é"]):
            assert await raw(made, b"{}", [("Authorization", value) for value in values]) == 401, values


async def test_malformed_bodies_are_400(store: Redis) -> None:
    """What is no event is 400, too much is 413, packed is 415, and an event of a new kind is no error."""
    async with world(store, pubsub=False, started=False) as made:
        auth = [("Authorization", f"Bearer {made.people.token()}")]
        for body in (
            b"",
            b"[]",
            b"{",
            b"\xff\xfe",
            b'{"type": 3}',
            b'{"type":"MESSAGE","space":{"name":"../x"}}',
            b"[" * 9999,
        ):
            assert await raw(made, body, auth) == 400, body[:40]
        assert await raw(made, io.BytesIO(b" " * 1_100_000), auth) == 413
        assert await raw(made, b"x", [*auth, ("Content-Encoding", "gzip")]) == 415
        assert await made.people.post(made.people.event("CARD_CLICKED", made.space, made.ann)) == 200
        assert await made.people.post(made.people.event("SOMETHING_NEW", made.space, made.ann)) == 200
        assert made.events.seen == []


async def test_no_project_number_refuses_everything(store: Redis) -> None:
    """Without the number nothing can be verified, so nothing is taken, not even a token for no project."""
    async with world(store, pubsub=False, started=False, project_number="") as made:
        event = made.people.event("ADDED_TO_SPACE", made.space, made.ann)
        assert await made.people.post(event) == 401
        assert await made.people.post(event, made.people.token(aud="")) == 401


async def test_new_keys_are_looked_up_and_kept(store: Redis) -> None:
    """Keys are read once; an unknown key id makes us look again, but not for every forged token."""
    async with world(store, pubsub=False, started=False) as made:
        for _ in range(3):
            assert await made.people.add_app(made.space, made.ann) == 200
        assert made.double.key_reads == 1
        event = made.people.event("ADDED_TO_SPACE", made.space, made.ann)
        for number in range(5):
            assert await made.people.post(event, keys.signed(f"forged-{number % 2}", {"iss": "x"})) == 401
        assert made.double.key_reads == 1


async def test_keys_that_cannot_be_read_are_503(store: Redis) -> None:
    """While Google's keys cannot be had nobody can say who it was: not taken, not refused for good."""
    async with world(store, pubsub=False, started=False, chat_keys_url="http://127.0.0.1:1/keys") as made:
        assert await made.people.add_app(made.space, made.ann) == 503
        assert made.events.seen == []


async def test_coming_and_going(store: Redis) -> None:
    """Being added is a greeting with the space's name; being removed is told; a new name is noticed."""
    async with world(store, pubsub=False, started=False) as made:
        await made.people.add_app(made.space, made.ann)
        added = made.events.seen[0]
        assert isinstance(added, BotAdded)
        assert (added.room, added.title, added.by and added.by.id) == (made.room, "Garden", made.ann)
        assert made.adapter.room_info(made.room).title == "Garden"
        made.space.title = "Orchard"
        await made.people.say(made.space, made.bob, f"<{made.double.app}> hello")
        renamed, said = made.events.seen[1:]
        assert isinstance(renamed, RoomRenamed)
        assert renamed.title == "Orchard"
        assert isinstance(said, MessageNew)
        await made.people.remove_app(made.space, made.ann)
        removed = made.events.seen[-1]
        assert isinstance(removed, BotRemoved)
        assert removed.room == made.room
        assert await made.adapter.rooms() == []


async def test_added_by_a_mention_hears_the_message(store: Redis) -> None:
    """Who adds the app by mentioning it has said something as well."""
    async with world(store, pubsub=False, started=False) as made:
        message = made.people.said(made.space, made.ann, f"<{made.double.app}> -sameroom open")
        shown = made.double.shown(made.space, message)
        event = made.people.event("ADDED_TO_SPACE", made.space, made.ann, message=shown)
        assert await made.people.post(event) == 200
        added, said = made.events.seen
        assert isinstance(added, BotAdded)
        assert said.text.plain == "-sameroom open"


async def test_the_mention_of_us_is_not_read_elsewhere(store: Redis) -> None:
    """Our name at the start is only for Google; that of others, and ours within the words, stays."""
    async with world(store, pubsub=False, started=False) as made:
        app = f"<{made.double.app}>"
        for words in (f"{app} hello", f"{app}, hello <{made.bob}>", f"ask {app}", f"<{made.bob}> {app} look"):
            await made.people.say(made.space, made.ann, words)
        assert [event.text.plain for event in made.events.seen] == [
            "hello",
            "hello @Bob",
            "ask @BridgeBot",
            "@Bob @BridgeBot look",
        ]


async def test_an_app_that_is_called_like_the_commands(store: Redis) -> None:
    """``@sameroom open`` is a command also where it is a mention; other words to it are not."""
    async with world(store, pubsub=False, started=False) as made:
        made.double.users[made.double.app]["displayName"] = "Sameroom"
        await made.people.say(made.space, made.ann, f"<{made.double.app}> open")
        await made.people.say(made.space, made.ann, f"<{made.double.app}> good morning")
        assert [event.text.plain for event in made.events.seen] == ["@sameroom open", "good morning"]


async def test_slash_commands(store: Redis) -> None:
    """A slash command is one of ours whatever it is called in the console, and is private to who typed it."""
    async with world(store, pubsub=False, started=False) as made:
        await made.people.slash(made.space, made.ann, "connect ABCDE-12", "/bridge")
        await made.people.slash(made.space, made.ann, "")
        assert [event.text.plain for event in made.events.seen] == ["/sameroom connect ABCDE-12", "/sameroom"]
        assert made.events.seen[0].author.id == made.ann


async def test_an_app_built_as_an_add_on(store: Redis) -> None:
    """The events of such an app say the same in another shape."""
    async with world(store, pubsub=False, started=False) as made:
        message = made.double.shown(made.space, made.people.said(made.space, made.ann, f"<{made.double.app}> hello"))
        user, space = made.double.users[made.ann], made.space.resource()
        stamp = made.double.stamp()
        for name, inner in (
            ("addedToSpacePayload", {"space": space}),
            ("messagePayload", {"space": space, "message": message}),
            ("buttonClickedPayload", {"space": space}),
            ("removedFromSpacePayload", {"space": space}),
        ):
            event = {"commonEventObject": {}, "chat": {"user": user, "eventTime": stamp, name: inner}}
            assert await made.people.post(event) == 200
        assert [type(event) for event in made.events.seen] == [BotAdded, MessageNew, BotRemoved]


async def test_the_same_event_twice_has_one_id(store: Redis) -> None:
    """A repeated event is recognised by its native id, in the same room, of the same author."""
    async with world(store, pubsub=False, started=False) as made:
        message = made.people.said(made.space, made.ann, f"<{made.double.app}> hello")
        for _ in range(2):
            await made.people.tell(made.space, message)
        first, second = made.events.seen
        assert first == second


async def test_a_message_of_another_space_is_not_taken(store: Redis) -> None:
    """An event cannot put words into a space that it is not about, and nothing in it moves a room."""
    async with world(store, pubsub=False, started=False) as made:
        other = made.people.space("AAQAother", "Other", made.bob)
        message = made.double.shown(other, made.people.said(other, made.bob, f"<{made.double.app}> hello"))
        event = made.people.event("MESSAGE", made.space, made.ann, message=message)
        assert await made.people.post(event) == 200
        assert made.events.seen == []


async def test_a_store_that_is_down_is_503(store: Redis) -> None:
    """What is not durable is not confirmed; the same event is taken when the store is back."""
    async with world(store, pubsub=False, started=False) as made:
        made.events.shut = True
        assert await made.people.add_app(made.space, made.ann) == 503
        made.events.shut = False
        assert await made.people.add_app(made.space, made.ann) == 200


async def test_a_store_that_stalls_is_503(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google does not wait for a store that does not answer."""
    monkeypatch.setattr("bots.googlechat.webhook.ACCEPT_S", 0.2)
    async with world(store, pubsub=False, started=False) as made:
        made.events.slow = asyncio.Event()
        assert await made.people.add_app(made.space, made.ann) == 503
        made.events.slow.set()
        assert await made.people.add_app(made.space, made.ann) == 200


async def test_many_at_once_stay_in_order(store: Redis) -> None:
    """Events of one space that come while the first one waits for a look-up are handed over after it."""
    async with world(store, pubsub=False, started=False) as made:
        await made.people.add_app(made.space, made.ann)
        made.double.faults.append(Fault("/members/app", method="GET", delay_s=0.3))
        messages = [
            made.double.shown(made.space, made.people.said(made.space, made.ann, f"<{made.double.app}> {n}"))
            for n in range(4)
        ]
        posts = []
        for message in messages:
            event = made.people.event("MESSAGE", made.space, made.ann, message=message)
            posts.append(asyncio.create_task(made.people.post(event)))
            await asyncio.sleep(0.02)
        assert await asyncio.gather(*posts) == [200] * 4
        assert [event.text.plain for event in made.events.seen[1:]] == ["0", "1", "2", "3"]
