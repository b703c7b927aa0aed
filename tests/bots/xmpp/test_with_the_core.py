"""The whole way: two rooms on a real server, one reached by an account and one by a component, made one by typing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from xml.etree.ElementTree import Element

import pytest

from bots.xmpp import PLATFORM
from core.model import AccountId, PlatformId
from core.store import Redis
from tests.bots.xmpp.scene import account_config
from tests.bots.xmpp.support import component_config, new_room
from tests.servers.xmpp import Door, Person, Prosody, stanza_id
from tests.support.world import StoredAccount, running_world

BODY = "{jabber:client}body"


@pytest.fixture
async def ann(prosody: Prosody) -> AsyncIterator[Person]:
    """Somebody who is in both rooms."""
    async with Person(prosody, "ann") as person:
        yield person


def said(person: Person, room: str) -> list[tuple[str, str]]:
    """Who said what in a room, as somebody saw it."""
    here = [s for s in person.heard if s.get("from", "").startswith(f"{room}/") and s.find(BODY) is not None]
    return [(stanza.get("from", "").partition("/")[2], stanza.findtext(BODY) or "") for stanza in here]


async def sees(person: Person, room: str, text: str) -> Element:
    """Wait for a text in a room."""
    return await person.until(lambda s: s.get("from", "").startswith(f"{room}/") and text in (s.findtext(BODY) or ""))


async def test_two_rooms_become_one(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Paired by two typed lines; words, corrections, answers and reactions cross; an outage loses nothing."""
    near, far = new_room(), new_room()
    async with Door(prosody.port) as door:
        accounts = [
            StoredAccount(AccountId("near"), PlatformId("xmpp"), account_config(prosody, door.port, rooms=(near,))),
            StoredAccount(AccountId("far"), PlatformId("xmpp"), component_config(prosody, rooms=(far,))),
        ]
        async with running_world(store, *accounts, platforms={"xmpp": PLATFORM}):
            for room in (near, far):
                await ann.enter(room, "Ann")
                await ann.sees(room, "bridgebot")
            await ann.say(near, "<body>-sameroom open</body>")
            answer = await sees(ann, near, "Your code is")
            code = re.search(r"Your code is (\S+?)\.", answer.findtext(BODY) or "")
            assert code
            await ann.say(far, f"<body>-sameroom connect {code[1]}</body>")
            for room in (near, far):
                await sees(ann, room, "now connected")

            first = await ann.say(near, "<body>teh first</body>", "the-first")
            relayed = await sees(ann, far, "teh first")
            await ann.say(near, "<body>the first</body><replace xmlns='urn:xmpp:message-correct:0' id='the-first'/>")
            corrected = await sees(ann, far, "the first")
            replaced = corrected.find("{urn:xmpp:message-correct:0}replace")
            assert replaced is not None
            assert replaced.get("id") == relayed.get("id")
            answer_to = f"<reply xmlns='urn:xmpp:reply:0' to='{far}/Ann' id='{stanza_id(relayed)}'/>"
            await ann.say(far, f"<body>an answer</body>{answer_to}")
            answered = await sees(ann, near, "an answer")
            reply = answered.find("{urn:xmpp:reply:0}reply")
            assert reply is not None
            assert reply.get("id") == stanza_id(first)
            reaction = (
                f"<reactions xmlns='urn:xmpp:reactions:0' id='{stanza_id(relayed)}'><reaction>👍</reaction></reactions>"
            )
            await ann.say(far, reaction + "<store xmlns='urn:xmpp:hints'/>")
            await ann.until(
                lambda s: s.get("from") == f"{near}/bridgebot" and s.find("{urn:xmpp:reactions:0}reactions") is not None
            )

            door.close()
            for number in range(5):
                await ann.say(near, f"<body>said near {number}</body>")
                await ann.say(far, f"<body>said far {number}</body>")
            door.open()
            await sees(ann, near, "said far 4")
            await sees(ann, far, "said near 4")
        near_lines = [text for nick, text in said(ann, near) if nick == "bridgebot" and "said far" in text]
        far_lines = [text for nick, text in said(ann, far) if nick != "Ann" and "said near" in text]
        assert [line[-1] for line in near_lines] == list("01234")
        assert far_lines == [f"said near {number}" for number in range(5)]


async def test_a_restart_loses_nothing(prosody: Prosody, store: Redis, ann: Person) -> None:
    """What is said while no process runs is relayed when one runs again, in its place and once."""
    near, far = new_room(), new_room()
    accounts = [
        StoredAccount(AccountId("near"), PlatformId("xmpp"), account_config(prosody, rooms=(near,))),
        StoredAccount(AccountId("far"), PlatformId("xmpp"), component_config(prosody, rooms=(far,))),
    ]
    for room in (near, far):
        await ann.enter(room, "Ann")
    async with running_world(store, *accounts, platforms={"xmpp": PLATFORM}):
        for room in (near, far):
            await ann.sees(room, "bridgebot")
        await ann.say(near, "<body>-sameroom open</body>")
        answer = await sees(ann, near, "Your code is")
        code = re.search(r"Your code is (\S+?)\.", answer.findtext(BODY) or "")
        assert code
        await ann.say(far, f"<body>-sameroom connect {code[1]}</body>")
        await sees(ann, near, "now connected")
        await ann.say(near, "<body>said before</body>")
        await sees(ann, far, "said before")
    for number in range(5):
        await ann.say(near, f"<body>said meanwhile {number}</body>")
    async with running_world(store, *accounts, platforms={"xmpp": PLATFORM}):
        await sees(ann, far, "said meanwhile 4")
        await ann.say(near, "<body>said after</body>")
        await sees(ann, far, "said after")
    lines = [text for nick, text in said(ann, far) if nick == "Ann (2)" and text.startswith("said")]
    assert lines == ["said before", *(f"said meanwhile {number}" for number in range(5)), "said after"]
