"""On a server with nothing but rooms, as old on-premise ones are: what is left works."""

from __future__ import annotations

import asyncio

import pytest

from bots.xmpp.stream import Stream
from core.contract import OutFile, Rejected, Since
from core.gate import dedup_key
from core.model import MessageEdited, MessageNew, NativeId
from core.store import Redis
from tests.bots.xmpp.scene import View, account_config
from tests.bots.xmpp.support import delivered, new_room, post, roomed, running
from tests.bots.xmpp.test_account import Counting, _bytes, texts
from tests.servers.xmpp import Door, Person, Prosody


async def test_words_edits_and_files(plain_prosody: Prosody, store: Redis) -> None:
    """Posts are confirmed, corrections go both ways by the senders' ids, files are links."""
    room = new_room()
    async with Person(plain_prosody, "ann") as ann:
        await ann.enter(room, "Ann")
        async with running(account_config(plain_prosody, rooms=(room,)), store) as link:
            view = View(ann, room)
            file = OutFile("a.txt", "text/plain", 2, "http://127.0.0.1:1/f/x", _bytes)
            receipt = await link.adapter.send(post(room, "teh file", files=(file,)))
            assert len(receipt.natives) == 1
            await link.adapter.edit(receipt.natives, post(room, "the file", files=(file,)))
            await ann.say(room, "<body>teh</body>", "a-1")
            await ann.say(room, "<body>the</body><replace xmlns='urn:xmpp:message-correct:0' id='a-1'/>", "a-2")
            edited = await link.heard(MessageEdited)
            said = await link.heard(MessageNew)
            assert edited.target == said.native == "a-1"
            view.look()
            assert view.said[0].line.plain == "the file\n📎 a.txt (2 bytes) http://127.0.0.1:1/f/x"


async def test_ids_of_old_clients(plain_prosody: Prosody, store: Redis) -> None:
    """A client that gives no ids, or counts from 1 whenever it starts, is heard all the same: every message is another
    one. What it corrects is the newest that it called so."""
    room = new_room()
    async with Person(plain_prosody, "ann") as ann:
        await ann.enter(room, "Ann")
        async with running(account_config(plain_prosody, rooms=(room,)), store) as link:
            for words in ("one", "two"):
                ann.send(f"<message to='{room}' type='groupchat'><body>{words}</body></message>")
            for words in ("three", "four"):
                await ann.say(room, f"<body>{words}</body>", "1")
            await ann.say(room, "<body>five</body><replace xmlns='urn:xmpp:message-correct:0' id='1'/>", "2")
            edited = await link.heard(MessageEdited)
            said = [event for event in link.events.seen if isinstance(event, MessageNew)]
            assert [event.text.plain for event in said] == ["one", "two", "three", "four"]
            assert len({dedup_key(event) for event in said}) == 4
            assert edited.target == said[-1].native


async def test_what_was_received_before_a_break_is_heard(
    plain_prosody: Prosody, store: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for a slow store when the connection breaks is not thrown away: nobody could ask for it again."""
    room = new_room()
    recorder = Counting()
    opened = Stream.open

    async def open_(stream: Stream) -> bool:
        resumed = await opened(stream)
        asyncio.get_running_loop().call_later(0.2, lambda: setattr(recorder, "down", False))
        return resumed

    async with Person(plain_prosody, "ann") as ann, Door(plain_prosody.port) as door:
        await ann.enter(room, "Ann")
        config = account_config(plain_prosody, door.port, rooms=(room,))
        async with running(config, store, recorder) as link:
            recorder.down = True
            for number in range(5):
                await ann.say(room, f"<body>{number}</body>")
                await link.until(lambda: "0" in texts(link))
            assert link.adapter._link
            async with asyncio.timeout(10):
                while len(link.adapter._link._queue) < 4:
                    await asyncio.sleep(0)
            monkeypatch.setattr(Stream, "open", open_)
            door.close()
            await link.until(lambda: bool(link.events.reasons))
            door.open()
            await link.until(lambda: "4" in texts(link))
            assert texts(link) == [str(number) for number in range(5)]


async def test_there_is_no_history_and_no_resuming(plain_prosody: Prosody, store: Redis) -> None:
    """After a break the bot enters again; what was said meanwhile is not made up; the missing archive is named."""
    room = new_room()
    async with Person(plain_prosody, "ann") as ann, Door(plain_prosody.port) as door:
        await ann.enter(room, "Ann")
        async with running(account_config(plain_prosody, door.port, rooms=(room,)), store) as link:
            door.close()
            await link.until(lambda: bool(link.events.reasons))
            await ann.say(room, "<body>unheard</body>")
            door.open()
            await link.until(lambda: link.events.is_online)
            await delivered(link, post(room, "back"))
            await ann.say(room, "<body>heard</body>")
            await link.heard(MessageNew)
            assert texts(link) == ["heard"]
            with pytest.raises(Rejected, match="keeps no archive"):
                await link.adapter.history(roomed(room), Since(NativeId("x"), 0))
            assert await link.adapter.find_sent(post(room, "back")) is None
