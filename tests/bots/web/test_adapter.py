"""The relay's side: posts, edits, deletions, reactions, files, history, rights, and rooms that end."""

from __future__ import annotations

import time

import msgspec
import pytest

from bots.web import PLATFORM, WebConfig
from core import contract
from core.contract import Outbound, OutFile, Rejected, Retry
from core.model import AccountId, BotRemoved, Entity, MessageNew, RoomId, Text
from core.store import open_store
from tests.bots.web.conftest import REMOTE, Inbox, Pair, services, words


def post(pair: Pair, key: str, text: str, **more) -> Outbound:
    """A relayed post for the pair's room."""
    return Outbound(**({"room": pair.room, "key": key, "text": words(text), "author": REMOTE} | more))


async def test_it_offers_everything(server):
    """The host finds every optional protocol by type."""
    offered = ["Adapter", "Edits", "Deletes", "Reacts", "Types", "Files", "Members", "Finds", "Pings"]
    for name in [*offered, "Rooms", "Invites", "Webhooks"]:
        assert isinstance(server.adapter, getattr(contract, name)), name
    assert PLATFORM.from_target("") == ("web", WebConfig())
    with pytest.raises(ValueError, match="--web"):
        PLATFORM.from_target("irc.example/#x")


async def test_a_post_shows_once(pair: Pair, inbox):
    """Under the author's name, the bot's under its own; the same key again changes nothing and nothing echoes."""
    sent = [await pair.server.adapter.send(post(pair, "k1", "hi")) for _ in range(3)]
    await pair.server.adapter.send(post(pair, "k2", "Your code", author=None))
    shown = [await pair.b.message() for _ in range(2)]
    assert [(m["kind"], m["name"], m["body"]) for m in shown] == [
        ("relayed", "Cleo (Slack)", ["hi"]),
        ("bot", "Sameroom", ["Your code"]),
    ]
    assert sent[0] == sent[1] == sent[2]
    assert sent[0].natives == (shown[0]["id"],)
    assert inbox.of(MessageNew) == []


async def test_a_post_is_found_after_doubt(pair: Pair):
    """find_sent knows what arrived and what did not."""
    outbound = post(pair, "k", "hi")
    assert await pair.server.adapter.find_sent(outbound) is None
    receipt = await pair.server.adapter.send(outbound)
    assert await pair.server.adapter.find_sent(outbound) == receipt


async def test_a_long_post_is_split_and_edited_to_one(pair: Pair):
    """Parts are cut between words; a shorter edit takes the surplus away, entities stay on their words."""
    text = "word " * 10_000
    receipt = await pair.server.adapter.send(post(pair, "k", text))
    parts = [await pair.b.message() for _ in receipt.natives]
    assert "".join(part["body"][0] for part in parts) == text
    assert len(parts) == 2
    capped = await pair.server.adapter.send(post(pair, "k2", text, max_parts=1))
    assert len(capped.natives) == 1
    assert (await pair.b.message())["body"][0].endswith("…")
    bold = Text("short one", (Entity("bold", 0, 5),))
    stands = await pair.server.adapter.edit(receipt.natives, msgspec.structs.replace(post(pair, "k3", ""), text=bold))
    assert stands.natives == receipt.natives[:1]
    edited, gone = await pair.b.message(), await pair.b.message()
    assert edited["body"] == [["bold", "", ["short"]], " one"]
    assert (gone["id"], gone["deleted"]) == (receipt.natives[1], True)


async def test_edit_grows_and_repeats_safely(pair: Pair):
    """An edit that needs more parts posts them; the same edit again makes none."""
    receipt = await pair.server.adapter.send(post(pair, "k", "short"))
    grown = post(pair, "k2", "word " * 10_000)
    first = await pair.server.adapter.edit(receipt.natives, grown)
    assert await pair.server.adapter.edit(receipt.natives, grown) == first
    assert len(first.natives) == 2
    again = await pair.ben.connect()
    assert len(again.seen[0]["messages"]) == 2


async def test_delete_react_reply_thread_typing(pair: Pair):
    """What other rooms do to messages shows here; what is gone already is no error."""
    adapter = pair.server.adapter
    said = await pair.a.say("question")
    await pair.b.message()
    receipt = await adapter.send(post(pair, "k", "answer", reply_to=said["id"]))
    assert (await pair.b.message())["reply"] == {"id": said["id"], "name": "Ann", "excerpt": "question"}
    await adapter.send(post(pair, "k2", "more", thread=said["id"]))
    assert (await pair.b.message())["reply"]["id"] == said["id"]
    await adapter.react(pair.room, said["id"], "🎉", True, REMOTE)
    assert list((await pair.b.message())["reactions"]["🎉"].values()) == ["Cleo (Slack)"]
    await adapter.react(pair.room, said["id"], "🎉", False, REMOTE)
    assert "reactions" not in await pair.b.message()
    for _ in range(2):
        await adapter.delete(pair.room, [*receipt.natives, "nowhere"])
    assert (await pair.b.message())["deleted"]
    await adapter.typing(pair.room, REMOTE)
    assert (await pair.b.until(lambda n: n["t"] == "typing"))["name"] == "Cleo (Slack)"
    with pytest.raises(Rejected):
        await adapter.react(pair.room, "nowhere", "🎉", True, REMOTE)


async def test_files_of_other_rooms_are_links(pair: Pair):
    """A picture's link stays on the page's own origin; the bytes stay where they are."""

    async def nothing():
        yield b""

    files = (
        OutFile("p.png", "image/png", 5, pair.server.url + "/file/signed", nothing),
        OutFile("x.svg", "image/svg+xml", 5, "https://elsewhere.example/x", nothing),
    )
    await pair.server.adapter.send(post(pair, "k", "", files=files))
    shown = (await pair.b.message())["files"]
    assert [(f["url"], f["image"]) for f in shown] == [
        ("/file/signed", True),
        ("https://elsewhere.example/x", False),
    ]


async def test_rooms_are_known_and_answer(pair: Pair):
    """Titles, ping, and an invitation whose link opens the form with the code in it."""
    adapter = pair.server.adapter
    assert [(r.room, r.title) for r in await adapter.rooms()] == [(pair.room, "Garden")]
    assert adapter.room_info(pair.room).title == "Garden"
    await adapter.ping(pair.room)
    with pytest.raises(Rejected):
        await adapter.ping(RoomId("web/nowhere"))
    async with pair.ann.http.get(adapter.invite("AB-CD").url) as answer:
        assert 'value="AB-CD"' in await answer.text()


async def test_posts_to_a_room_that_is_gone_are_rejected(pair: Pair):
    """People in the other rooms are told why."""
    with pytest.raises(Rejected, match="gone"):
        await pair.server.adapter.send(post(pair, "k", "hi", room=RoomId("web/nowhere")))
    with pytest.raises(Rejected):
        await anext(pair.server.adapter.open_file("nowhere"))


async def test_a_dead_store_means_retry(tmp_path):
    """Nothing but an adapter error leaves the adapter."""
    dead = open_store(f"unix://{tmp_path}/none")
    adapter = PLATFORM.create(AccountId("web"), WebConfig(), services(dead, "http://127.0.0.1:1"))
    with pytest.raises(Retry):
        await adapter.send(Outbound(room=RoomId("web/x"), key="k", text=Text("hi")))
    with pytest.raises(Retry):
        await adapter.is_admin(RoomId("web/x"), "guest:a")
    await adapter.stop()
    await dead.aclose()


async def test_a_room_nobody_visits_ends(pair: Pair, inbox, store):
    """Relayed posts do not keep it; at its end the relay is told and nothing of it stays."""
    adapter = pair.server.adapter
    await adapter.send(post(pair, "k", "hi"))
    lives = [await store.pttl(key) for key in await store.keys() if b"bucket" not in key and b"rooms" not in key]
    assert lives
    assert all(0 < life <= 30 * 86_400_000 for life in lives)
    later = msgspec.structs.replace(services(store, ""), now_ms=lambda: time.time_ns() // 1_000_000 + 31 * 86_400_000)
    host = PLATFORM.create(AccountId("web"), WebConfig(), later)
    seen = Inbox()
    await host.clear_away(seen)
    assert [e.room for e in seen.of(BotRemoved)] == [pair.room]
    assert not [key for key in await store.keys() if b"bucket" not in key]


async def test_start_says_online_and_stop_ends_it(pair: Pair):
    """The host's instance is online at once; stopping sends the pages away."""
    seen = Inbox()
    await pair.server.adapter.start(seen)
    assert seen.states == ["online"]
    await pair.server.adapter.stop()
    assert await pair.a.closed() == 1012
