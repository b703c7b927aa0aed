"""What attackers do: a server in between without encryption, files in our own network, floods of invitations."""

from __future__ import annotations

import asyncio
import base64
import logging

import pytest

from bots.xmpp.config import XmppConfig
from bots.xmpp.stream import Stream
from core.contract import Offline, Rejected
from core.model import BotAdded, MessageNew
from core.store import Redis
from core.text.mass import MASS_MENTIONS
from tests.bots.xmpp.scene import account_config
from tests.bots.xmpp.support import new_room, post, running
from tests.servers.xmpp import PASSWORD, Person, Prosody

HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'>"
MECHANISMS = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"


async def test_no_password_without_encryption() -> None:
    """Somebody in between takes the offer of TLS out: the bot says nothing secret and goes."""
    got = bytearray()

    async def pose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read(4096))
        writer.write(f"{HEADER}<stream:features>{MECHANISMS}</stream:features>".encode())
        while data := await reader.read(4096):
            got.extend(data)
        writer.close()

    server = await asyncio.start_server(pose, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        config = XmppConfig(jid="bridge@localhost", password=PASSWORD, host="127.0.0.1", port=port)
        with pytest.raises(Offline, match="no encryption"):
            await Stream(config, lambda stanza: None).open()
    assert b"<auth" not in got
    assert PASSWORD.encode() not in got
    assert base64.b64encode(f"\0bridge\0{PASSWORD}".encode()) not in got


async def test_no_secret_is_logged(prosody: Prosody, store: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the log level, what goes over the stream is not logged."""
    caplog.set_level(logging.DEBUG)
    room = new_room()
    async with running(account_config(prosody, rooms=(room,), sasl="PLAIN"), store) as link:
        await link.adapter.send(post(room, "a secret word"))
    assert PASSWORD not in caplog.text
    assert base64.b64encode(f"\0bridge\0{PASSWORD}".encode()).decode() not in caplog.text
    assert "a secret word" not in caplog.text


async def test_files_in_our_own_network_are_not_fetched(prosody: Prosody, store: Redis) -> None:
    """A message cannot make the bot knock at private addresses."""
    hits: list[None] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hits.append(None)
        writer.close()

    room = new_room()
    server = await asyncio.start_server(count, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = XmppConfig(
        jid="bridge@localhost",
        password=PASSWORD,
        host="127.0.0.1",
        port=prosody.port,
        tls_ca_file=str(prosody.ca_file),
        rooms=(room,),
    )
    async with server, Person(prosody, "ann") as ann, running(config, store) as link:
        await ann.enter(room, "Ann")
        url = f"http://127.0.0.1:{port}/secret.png"
        await ann.say(room, f"<body>{url}</body><x xmlns='jabber:x:oob'><url>{url}</url></x>")
        event = await link.heard(MessageNew)
        assert url not in event.files[0].ref
        with pytest.raises(Rejected, match="not a public address"):
            await anext(link.adapter.open_file(event.files[0].ref))
    assert not hits


async def test_invitations_have_an_end(prosody: Prosody, store: Redis) -> None:
    """Beyond the limit nobody brings the bot anywhere."""
    rooms = [new_room() for _ in range(3)]
    async with Person(prosody, "ann") as ann, running(account_config(prosody, max_rooms=2), store) as link:
        for room in rooms:
            await ann.enter(room, "Ann")
            ann.send(f"<message to='bridge@localhost'><x xmlns='jabber:x:conference' jid='{room}'/></message>")
        await link.until(lambda: sum(isinstance(event, BotAdded) for event in link.events.seen) == 2)
        await ann.say(rooms[0], "<body>after all of them</body>")
        await link.heard(MessageNew)
        assert len(await link.adapter.rooms()) == 2


async def test_mass_mentions_are_only_words(prosody: Prosody, store: Redis) -> None:
    """XMPP has none: nothing that calls a whole room elsewhere is more than words here, nor a mark-up."""
    room = new_room()
    async with Person(prosody, "ann") as ann, running(account_config(prosody, rooms=(room,)), store) as link:
        await ann.enter(room, "Ann")
        for text in MASS_MENTIONS:
            await link.adapter.send(post(room, text))
        last = await ann.until(lambda s: s.findtext("{jabber:client}body") == MASS_MENTIONS[-1])
        assert not [item for item in last if "reference" in item.tag]
