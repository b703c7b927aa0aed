"""What the homeserver pushes, and what somebody pushes who is not the homeserver."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.model import Joined, MessageDeleted, MessageNew, Reaction, RoomMoved, RoomRenamed, Text, Typing
from core.store import Redis, StoreDown, open_store
from tests.bots.matrix.support import HS_TOKEN, ROOM, dead_config, event, make, pushed
from tests.contract.stage import Recorder
from tests.servers.store import ValkeyServer, dump_of

TXN = "_matrix/app/v1/transactions/t1"
WRONG = (
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": "Bearer wrong"},
    {"Authorization": HS_TOKEN},
    {"Authorization": f"Basic {HS_TOKEN}"},
    {"Authorization": f"bearer{HS_TOKEN}"},
    {"Authorization": f"Bearer {HS_TOKEN} "[:-2]},
    {"Authorization": f"Bearer {HS_TOKEN}x"},
    {"Authorization": "Bearer \udce9\udcff"},
    {"Authorization": "Bearer é"},
)


@pytest.mark.parametrize("headers", WRONG)
@pytest.mark.parametrize("method", ["PUT", "POST", "GET"])
async def test_who_is_not_the_homeserver_is_refused(store: Redis, headers: dict[str, str], method: str) -> None:
    """Without exactly the right token: 401, nothing is emitted, and the store is untouched (threats 1 and 31)."""
    paths = {"PUT": [TXN], "POST": ["_matrix/app/v1/ping"], "GET": ["_matrix/app/v1/users/@x:y"]}
    async with pushed(store, dead_config()) as there:
        before = await dump_of(store)
        for path in paths[method]:
            status, answer = await there.ask(method, path, data=json.dumps({"events": [event()]}), headers=headers)
            assert status == 401
            assert answer["errcode"] == "M_FORBIDDEN"
        assert there.events.seen == []
        assert await dump_of(store) == before


async def test_the_token_in_the_address_counts_for_nothing(store: Redis) -> None:
    """The old way by ``?access_token=`` would put the token into logs."""
    async with pushed(store, dead_config()) as there:
        assert (await there.ask("PUT", f"{TXN}?access_token={HS_TOKEN}", json={"events": []}))[0] == 401
        both = [("Authorization", f"Bearer {HS_TOKEN}"), ("Authorization", "Bearer other")]
        assert (await there.ask("PUT", TXN, json={"events": []}, headers=both))[0] == 401


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    """An application service without a real secret cannot be configured (threat 1)."""
    with pytest.raises(ValueError, match="anybody could guess it"):
        dead_config(hs_token="short")
    with pytest.raises(ValueError, match="as_token"):
        dead_config(token="")


async def test_a_plain_account_takes_no_pushes(store: Redis) -> None:
    """Without a secret there is no route to push to."""
    async with pushed(store, dead_config(hs_token="")) as there:
        assert (await there.ask("PUT", TXN, json={"events": [event()]}))[0] == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"events":5}', b"\xff\xfe", b'{"a":' * 5000])
async def test_a_body_that_makes_no_sense(store: Redis, body: bytes) -> None:
    """Malformed bodies are 400, never 500."""
    async with pushed(store, dead_config()) as there:
        assert (await there.ask("PUT", TXN, data=body, headers=there.headers))[0] == 400


async def test_a_body_without_end(store: Redis) -> None:
    """A body above the limit is refused."""
    async with pushed(store, dead_config()) as there:
        with io.BytesIO(b'{"events":[],"x":"' + b"x" * (17 * 1024 * 1024)) as body:
            assert (await there.ask("PUT", TXN, data=body, headers=there.headers))[0] == 413


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KINDS = st.sampled_from(
    [
        "m.room.message",
        "m.reaction",
        "m.room.redaction",
        "m.room.member",
        "m.room.name",
        "m.room.canonical_alias",
        "m.room.encrypted",
        "m.typing",
    ]
)
FIELDS = st.sampled_from(["membership", "displayname", "m.relates_to", "body", "redacts", "user_ids", "name", "alias"])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KINDS, st.dictionaries(FIELDS, ODD, max_size=4), st.none() | st.text(max_size=5))), ODD)
async def test_odd_events_are_passed_over(store: Redis, odd: list[Any], junk: object) -> None:
    """Whatever is in the events, the transaction is taken in: another try would not make them better."""
    events = [
        event(number=n, type=kind, content=content) | ({} if key is None else {"state_key": key})
        for n, (kind, content, key) in enumerate(odd)
    ]
    async with pushed(store, dead_config()) as there:
        typing = {"type": "m.typing", "room_id": ROOM, "content": {"user_ids": junk}}
        assert await there.push("t", *events, junk, ephemeral=[typing, junk]) == 200


async def test_a_transaction_is_taken_in_once(store: Redis) -> None:
    """The same transaction again changes nothing, whichever process gets it (threat 30)."""
    async with pushed(store, dead_config()) as there:
        assert await there.push("7", event("once", 1), event("more", 2)) == 200
        assert await there.push("7", event("once", 1), event("more", 2)) == 200
        assert [e.text.plain for e in there.events.seen if isinstance(e, MessageNew)] == ["once", "more"]
        other = Recorder()
        async with pushed(store, dead_config(), other) as second:
            assert await second.push("7", event("once", 1), event("more", 2)) == 200
        assert other.seen == []


async def test_a_homeserver_that_counts_anew_is_heard(store: Redis) -> None:
    """A transaction's number alone says nothing: a homeserver that was set up anew begins at 1 again."""
    async with pushed(store, dead_config()) as there:
        await there.push("1", event("before", 1))
        await there.push("1", event("after", 2))
        assert [e.text.plain for e in there.events.seen if isinstance(e, MessageNew)] == ["before", "after"]


class Refusing(Recorder):
    """A relay whose store is down at first."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = True

    async def accepted(self) -> None:
        """Say so."""
        if self.is_down:
            raise StoreDown("the store is away")


async def test_what_is_not_durable_is_not_acknowledged(store: Redis) -> None:
    """503 while the store takes nothing; the homeserver comes again and then it is 200 (threat 41)."""
    relay = Refusing()
    async with pushed(store, dead_config(), relay) as there:
        assert await there.push("1", event("kept", 1)) == 503
        relay.is_down = False
        assert await there.push("1", event("kept", 1)) == 200
        natives = [e.native for e in relay.seen if isinstance(e, MessageNew)]
        assert natives == ["$e1", "$e1"], "the relay tells the second from the first by its id"


async def test_a_store_that_hangs_is_no_reason_to_hang(tmp_path: Path) -> None:
    """A stalled store is answered with 503 within a second or so (threat 41)."""
    with ValkeyServer(tmp_path / "store", appendonly=False) as server:
        own = open_store(server.url)
        async with pushed(own, dead_config()) as there:
            server.freeze()
            try:
                async with asyncio.timeout(2.5):
                    assert await there.push("1", event("late", 1)) == 503
            finally:
                server.thaw()
            assert await there.push("1", event("late", 1)) == 200
            assert [e.text.plain for e in there.events.seen if isinstance(e, MessageNew)] == ["late"]
        await own.aclose()


async def test_parallel_pushes_keep_their_order(store: Redis) -> None:
    """Whatever comes at the same time is taken in one after the other."""
    async with pushed(store, dead_config()) as there:
        await asyncio.gather(
            *(there.push(f"p{n}", *(event(f"{n}.{m}", 10 * n + m) for m in range(5))) for n in range(8))
        )
        seen = [e.text.plain.partition(".") for e in there.events.seen if isinstance(e, MessageNew)]
        assert len(seen) == 40
        for start in range(0, 40, 5):
            assert [word for _, _, word in seen[start : start + 5]] == ["0", "1", "2", "3", "4"]


async def test_our_own_words_do_not_come_back(store: Redis) -> None:
    """What the bot or a ghost said is nobody's message, whoever it is called like."""
    ghost = "@_bridge_0123456789:localhost"
    async with pushed(store, dead_config()) as there:
        await there.push(
            "1",
            event("by the bot", 1, sender="@bridgebot:localhost"),
            event("by a ghost", 2, sender=ghost),
            event("by another server's", 3, sender="@_bridge_0123456789:elsewhere"),
        )
        assert [e.text.plain for e in there.events.seen if isinstance(e, MessageNew)] == ["by another server's"]


async def test_rooms_that_we_are_not_in_are_not_heard(store: Redis) -> None:
    """A room in which only a ghost is, is none of ours."""
    async with pushed(store, dead_config()) as there:
        await store.hset(there.adapter._desk.services.key("rooms"), "!other", b"[false]")
        assert await there.push("1", event("elsewhere", 1, room_id="!other")) == 200
        assert there.events.seen == []


async def test_an_unknown_room_waits_for_the_homeserver(store: Redis) -> None:
    """Whether we are in it, only the homeserver knows: while it does not answer, the transaction comes again."""
    async with pushed(store, dead_config()) as there:
        assert await there.push("1", event("hello", 1, room_id="!new")) == 503
        assert there.events.seen == []


async def test_room_ids_without_a_server(store: Redis) -> None:
    """Since room version 12 an id has no ``:server`` part; both kinds are ids and nothing more."""
    async with pushed(store, dead_config()) as there:
        for number, room in enumerate(("!abcDEF0123", "!abc:example.org", "!v6:[::1]:8448")):
            await store.hset(there.adapter._desk.services.key("rooms"), room, b'[true,"x"]')
            await there.push(f"{number}", event("hello", number, room_id=room))
        rooms = [e.room for e in there.events.seen]
        assert rooms == ["matrix/!abcDEF0123", "matrix/!abc:example.org", "matrix/!v6:[::1]:8448"]


async def test_reactions_and_what_takes_them_away(store: Redis) -> None:
    """A redaction takes away a reaction where it names one, else a message; also in another process."""
    relation = {"rel_type": "m.annotation", "event_id": "$m", "key": "👍"}
    async with pushed(store, dead_config()) as there:
        await there.push("1", event(number=1, type="m.reaction", content={"m.relates_to": relation}))
    async with pushed(store, dead_config()) as there:
        moderator = "@mod:localhost"
        await there.push(
            "2",
            event(number=2, type="m.room.redaction", content={"redacts": "$e1"}, sender=moderator),
            event(number=3, type="m.room.redaction", content={}, redacts="$m"),
        )
        off, gone = there.events.seen
        assert isinstance(off, Reaction)
        assert (off.target, off.emoji, off.added, off.author.id) == ("$m", "👍", False, "@ann:localhost")
        assert isinstance(gone, MessageDeleted)
        assert (gone.target, gone.author) == ("$m", None)


async def test_names_follow_their_people(store: Redis) -> None:
    """A member's event says how the room calls them from then on; only a coming is a coming."""
    ann = {"type": "m.room.member", "state_key": "@ann:localhost"}
    first = event(number=1, **ann) | {"content": {"membership": "join", "displayname": "Ann"}}
    second = event(number=2, **ann) | {"content": {"membership": "join", "displayname": "Annie"}}
    second["unsigned"] = {"prev_content": {"membership": "join"}}
    async with pushed(store, dead_config()) as there:
        await there.push("1", first, event("one", 3), second, event("two", 4))
        said = [(e.author.name, e.text) for e in there.events.seen if isinstance(e, MessageNew)]
        assert said == [("Ann", Text("one")), ("Annie", Text("two"))]
        assert len([e for e in there.events.seen if isinstance(e, Joined)]) == 1


async def test_the_rooms_name(store: Redis) -> None:
    """A name comes before an alias; what changes nothing is not told."""
    async with pushed(store, dead_config()) as there:
        state = {"state_key": ""}
        await there.push(
            "1",
            event(number=1, type="m.room.name", content={"name": "Orchard"}, **state),
            event(number=2, type="m.room.canonical_alias", content={"alias": "#orchard:localhost"}, **state),
            event(number=3, type="m.room.name", content={}, **state),
        )
        titles = [e.title for e in there.events.seen if isinstance(e, RoomRenamed)]
        assert titles == ["Orchard", "#orchard:localhost"]


async def test_typing_is_told(store: Redis) -> None:
    """Both the field of the specification and the one before it; never a ghost's."""
    users = ["@ann:localhost", "@_bridge_x:localhost"]
    typing = {"type": "m.typing", "room_id": ROOM, "content": {"user_ids": users}}
    async with pushed(store, dead_config()) as there:
        await there.push("1", ephemeral=[typing])
        await there.push("2", **{"de.sorunome.msc2409.ephemeral": [typing]})
        assert [e.author.id for e in there.events.seen if isinstance(e, Typing)] == ["@ann:localhost"] * 2


async def test_a_move_without_proof_is_refused(store: Redis) -> None:
    """A pushed tombstone that the room's state does not have moves nothing (threat 15)."""
    content = {"replacement_room": "!mine", "body": "come here"}
    async with pushed(store, dead_config()) as there:
        said = event(number=1, type="m.room.tombstone", content=content)
        keyed = event(number=2, type="m.room.tombstone", content=content, state_key="x")
        assert await there.push("1", said, keyed) == 200
        # The homeserver cannot be asked: nothing is believed, and the transaction comes again.
        assert await there.push("2", event(number=3, type="m.room.tombstone", content=content, state_key="")) == 503
        assert not [e for e in there.events.seen if isinstance(e, RoomMoved)]


async def test_pictures_are_only_those_we_named(store: Redis) -> None:
    """The address of a picture cannot be made up for other files of the homeserver."""
    async with pushed(store, dead_config()) as there:
        for path in ("avatar/localhost/abc/0", "avatar/localhost/abc/é", "avatar/localhost/../x"):
            assert (await there.ask("GET", path))[0] == 404
        url = there.adapter._desk.avatar_url("mxc://localhost/abc")
        assert url == there.adapter._desk.avatar_url("mxc://localhost/abc")
        assert there.adapter._desk.config.token not in url
        assert there.adapter._desk.avatar_url("https://evil.example/x") == ""


async def test_nobody_is_made_by_asking(store: Redis) -> None:
    """Ghosts and aliases are not made because somebody looks for them."""
    async with pushed(store, dead_config()) as there:
        for path in ("users/@_bridge_x:localhost", "rooms/%23x:localhost"):
            assert (await there.ask("GET", f"_matrix/app/v1/{path}", headers=there.headers))[0] == 404
        assert await there.ask("POST", "_matrix/app/v1/ping", json={}, headers=there.headers) == (200, {})


async def test_unstarted_adapters_leave_nothing_open(store: Redis) -> None:
    """An adapter that only ever served routes needs no stop; what it cannot know, it says."""
    adapter = make(store, dead_config())
    assert adapter.room_info(adapter._desk.room("!x")).title == "!x"
    assert "@bridgebot:localhost" in adapter.invite("HLDMU-42K7").url
