"""Adding an account, and what the doctor says of it."""

from __future__ import annotations

import msgspec
import pytest

from bots.discord import PLATFORM
from bots.discord.cache import NEEDED
from bots.discord.config import DiscordConfig
from core.contract import Rejected, Retry
from core.model import AccountId
from tests.bots.discord.support import Bench
from tests.fakes.discord_world import MEMBERS

URL = "https://bridge.example.org/bots/dc"


async def said(dc: Bench, **changes: object) -> dict[str, str]:
    """What the doctor says: what was looked at, and how to mend what is wrong."""
    findings = await PLATFORM.check(msgspec.structs.replace(dc.config, **changes), URL)
    assert all(finding.ok or finding.mend for finding in findings)
    return {finding.what: "" if finding.ok else finding.mend for finding in findings}


async def test_prepare_completes_the_account(dc: Bench) -> None:
    """The bot's name becomes the account's; the invitation asks for what is needed and no more."""
    dc.double.bot["username"] = "Garden Bridge"
    bare = DiscordConfig(token=f" Bot {dc.double.token}\n", api_url=dc.double.url + "/")
    name, config = await PLATFORM.prepare(bare, "https://bridge.example.org")
    assert (name, config.username, config.application_id) == ("garden-bridge", "Garden Bridge", dc.double.application)
    assert config.token == dc.double.token
    steps = " ".join(PLATFORM.next_steps(AccountId("dc"), config, URL))
    assert f"client_id={dc.double.application}&scope=bot&permissions={sum(NEEDED.values())}" in steps
    assert not sum(NEEDED.values()) & ((1 << 3) | (1 << 13) | (1 << 17)), "no Administrator, no mass mentions"


@pytest.mark.parametrize("token", ["nonsense", "", "MTA5ODc2NTQzMjEwOTg3NjU0.GdOuBl.another-one_0123456789abcdefghi"])
async def test_a_wrong_token_is_seen(dc: Bench, token: str) -> None:
    """It is said where the right one is."""
    with pytest.raises(Rejected, match="Reset Token"):
        await PLATFORM.prepare(DiscordConfig(token=token, api_url=dc.double.url), "")


async def test_a_missing_intent_is_seen(dc: Bench) -> None:
    """Before the account is added, and by the doctor."""
    dc.double.intent_on = False
    with pytest.raises(Rejected, match="Message Content Intent"):
        await PLATFORM.prepare(dc.config, "")
    found = await said(dc)
    assert any("Message Content Intent" in mend for mend in found.values())


async def test_no_answer_is_seen(dc: Bench) -> None:
    """An address where nothing is asks to be looked at."""
    config = msgspec.structs.replace(dc.config, api_url="http://127.0.0.1:9")
    with pytest.raises(Retry, match=r"127\.0\.0\.1:9"):
        await PLATFORM.prepare(config, "")
    assert "api_url" in next(iter((await said(dc, api_url="http://127.0.0.1:9")).values()))


async def test_the_doctor_is_content(dc: Bench) -> None:
    """Nothing to mend where the invitation's permissions were given."""
    dc.guild.raw["roles"][-1]["permissions"] = str(sum(NEEDED.values()))
    found = await said(dc)
    assert not any(found.values())
    assert any("Club" in what for what in found)


async def test_the_doctor_sees_missing_permissions(dc: Bench) -> None:
    """By name, server by server; and a token that no longer works; and a bot that is nowhere."""
    dc.guild.raw["roles"][-1]["permissions"] = str(MEMBERS)
    found = await said(dc)
    assert any("Club" in what and "Manage Webhooks" in what for what, mend in found.items() if mend)
    dc.double.remove_bot(dc.guild)
    assert any("no server" in what for what in await said(dc))
    found = await said(dc, token="x" * 24 + ".abcdef." + "y" * 30)
    assert any("Reset Token" in mend for mend in found.values())


async def test_a_token_is_no_target() -> None:
    """It would be read by others on the command line."""
    with pytest.raises(ValueError, match="accounts add discord"):
        PLATFORM.from_target("MTA.x.y")


async def test_the_invitation(dc: Bench) -> None:
    """A stranger gets the link and what to type."""
    invite = dc.make().invite("HLDMU-42K7")
    assert dc.double.application in invite.url
    assert "-sameroom connect HLDMU-42K7" in " ".join(invite.steps)
