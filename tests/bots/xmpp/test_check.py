"""What ``bridgebot doctor`` says, and the first sign-in, on a real server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from bots.xmpp import PLATFORM
from bots.xmpp.config import XmppConfig
from core.contract import Finding, Rejected, Retry
from core.store import Redis
from tests.bots.xmpp.scene import account_config
from tests.bots.xmpp.support import component_config, new_room, running
from tests.bots.xmpp.test_account import configure
from tests.servers.irc import free_port
from tests.servers.xmpp import Person, Prosody


@dataclass(frozen=True)
class Case:
    """Something wrong, and what is to be read about it."""

    changes: dict[str, Any]
    what: str
    mend: str


WRONG = [
    Case({"password": "wrong"}, "refused", "Correct jid and password"),
    Case({"password": ""}, "no password", "password"),
    Case({"tls_ca_file": ""}, "certificate cannot be trusted", "tls_ca_file"),
    Case({"port": free_port()}, "does not answer", "Check jid, host, port"),
    Case({"jid": "bridge@elsewhere.example"}, "does not answer", "Check jid"),
]


async def bad(config: XmppConfig) -> list[Finding]:
    """What is wrong."""
    return [finding for finding in await PLATFORM.check(config, "") if not finding.ok]


async def test_all_is_well(prosody: Prosody) -> None:
    """Login, rooms and uploads are found."""
    findings = await PLATFORM.check(account_config(prosody), "")
    assert all(finding.ok for finding in findings)
    words = " ".join(finding.what for finding in findings)
    assert "lets bridge@localhost in" in words
    assert "conference.localhost" in words
    assert "upload.localhost, up to 1048576 bytes" in words
    assert await PLATFORM.prepare(account_config(prosody), "") == ("xmpp-localhost", account_config(prosody))


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.what)
async def test_what_is_wrong_is_said(prosody: Prosody, case: Case) -> None:
    """In plain words, with what to do; adding the account fails with the same words."""
    config = replace(account_config(prosody), **case.changes)
    findings = await bad(config)
    assert any(case.what in finding.what and case.mend in finding.mend for finding in findings), findings
    assert not any(config.password in finding.what for finding in findings if config.password)
    with pytest.raises((Rejected, Retry)):
        await PLATFORM.prepare(config, "")


async def test_what_is_not_safe_is_said(prosody: Prosody) -> None:
    """Without a look at the certificate anybody can pose as the server."""
    findings = await bad(replace(account_config(prosody), tls_verify=False, tls_ca_file=""))
    assert [finding.what for finding in findings] == ["localhost: anybody can pose as the server"]


async def test_no_password_goes_out_in_the_clear(prosody: Prosody) -> None:
    """With tls none the server of this test offers no way to sign in, and that is said."""
    findings = await bad(replace(account_config(prosody), tls="none"))
    assert findings[0].what == "localhost: everything is sent unencrypted"
    assert "no way to sign in" in findings[1].what


async def test_a_component(prosody: Prosody, store: Redis) -> None:
    """Its secret is looked at; one that runs already is no fault."""
    assert not await bad(component_config(prosody))
    findings = await bad(replace(component_config(prosody), password="wrong"))
    assert "refuses the secret" in findings[0].what
    findings = await bad(replace(component_config(prosody), jid="nobody.localhost"))
    assert "nobody.localhost" in findings[0].what


async def test_rooms_are_looked_at(prosody: Prosody) -> None:
    """Each room that the bot is to be in: whether it is there, wants a password, takes members only."""
    secret, members, none = new_room(), new_room(), new_room()
    nowhere = "garden@nowhere.example"
    async with Person(prosody, "ann") as ann:
        await ann.enter(secret, "Ann")
        await configure(ann, secret, passwordprotectedroom="1", roomsecret="sesame")
        await ann.enter(members, "Ann")
        await configure(ann, members, membersonly="1")
        findings = await PLATFORM.check(account_config(prosody, rooms=(secret, members, none, nowhere)), "")
        said = {finding.what: finding for finding in findings}
        assert f"{secret} PASSWORD" in said[f"the room {secret} has a password"].mend
        assert said[f"only members may enter {members}: bridge@localhost must be one"].ok
        assert said[f"there is no room {none} yet; the bot makes it if it may"].ok
        assert [what for what, finding in said.items() if not finding.ok and nowhere in what]
        assert not await bad(account_config(prosody, rooms=(f"{secret} sesame",)))


async def test_an_old_server(plain_prosody: Prosody, store: Redis) -> None:
    """Without uploads files become links, which is no fault."""
    findings = await PLATFORM.check(account_config(plain_prosody), "")
    assert all(finding.ok for finding in findings)
    assert "no upload service" in findings[-1].what
    async with running(account_config(plain_prosody), store) as link:
        assert not await link.adapter.rooms()
