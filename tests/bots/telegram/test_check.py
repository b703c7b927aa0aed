"""Adding an account, and what the doctor says of it."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from bots.telegram import PLATFORM
from bots.telegram.config import TelegramConfig
from core.contract import Rejected, Retry
from core.model import AccountId
from tests.bots.telegram.support import Bench

HTTPS = "https://bridge.example.org"


async def said(tg: Bench, url: str = "", **changes: object) -> dict[str, str]:
    """What the doctor says: what was looked at, and how to mend what is wrong."""
    config = msgspec.structs.replace(tg.config, **changes)
    findings = await PLATFORM.check(config, url or f"{HTTPS}/bots/tg")
    assert all(finding.ok or finding.mend for finding in findings)
    return {finding.what: "" if finding.ok else finding.mend for finding in findings}


def of(found: dict[str, str], words: str) -> str:
    """The finding that holds ``words``."""
    return next(mend for what, mend in found.items() if words in what)


async def test_prepare_completes_the_account(tg: Bench) -> None:
    """The bot's name becomes the account's, and the webhook's secrets are made up anew each time."""
    bare = TelegramConfig(token=f" {tg.double.token}\n", api_url=tg.double.url + "/")
    name, config = await PLATFORM.prepare(bare, HTTPS)
    _, again = await PLATFORM.prepare(bare, HTTPS)
    assert (name, config.username, config.token) == ("bridge_bot", "bridge_bot", tg.double.token)
    assert min(len(config.webhook_secret), len(config.webhook_path)) >= 32
    assert config.webhook_secret != again.webhook_secret
    assert (await PLATFORM.prepare(config, HTTPS))[1] == config
    assert "t.me/bridge_bot?startgroup" in " ".join(PLATFORM.next_steps(AccountId("tg"), config, HTTPS))


@pytest.mark.parametrize("token", ["nonsense", "7000000001:AAE-another-token-than-the-right_one", ""])
async def test_a_wrong_token_is_seen(tg: Bench, token: str) -> None:
    """It is said where the right one is."""
    with pytest.raises(Rejected, match="BotFather"):
        await PLATFORM.prepare(TelegramConfig(token=token, api_url=tg.double.url), HTTPS)


async def test_no_answer_is_seen(tg: Bench) -> None:
    """An address where nothing is asks to be looked at."""
    with pytest.raises(Retry, match=r"127\.0\.0\.1:9"):
        await PLATFORM.prepare(TelegramConfig(token=tg.double.token, api_url="http://127.0.0.1:9"), HTTPS)


@pytest.mark.parametrize("url", ["http://bridge.example.org", "https://bridge.example.org:9000"])
async def test_a_webhook_that_telegram_cannot_call_is_refused(tg: Bench, url: str) -> None:
    """Telegram calls https on four ports only."""
    with pytest.raises(Rejected, match="Telegram calls"):
        await PLATFORM.prepare(TelegramConfig(token=tg.double.token, webhook=True), url)


def test_a_token_has_no_place_on_the_command_line() -> None:
    """It is said what to use instead."""
    with pytest.raises(ValueError, match="bridgebot accounts add telegram"):
        PLATFORM.from_target("7000000001:AAE")


async def test_all_is_well(tg: Bench) -> None:
    """A good account has nothing to mend."""
    found = await said(tg)
    assert not any(found.values())
    assert "Telegram knows the bot as @bridge_bot" in found


async def test_telegram_calls_no_more(tg: Bench) -> None:
    """The webhook ends with the account, and it is said who can revoke the token; without one, only that."""
    config = TelegramConfig(token=tg.double.token, api_url=tg.double.url)
    assert "write /revoke to @BotFather" in await PLATFORM.revoke(config, HTTPS, None)
    tg.double.webhook = {"url": f"{HTTPS}/bots/tg/hook/x", "secret_token": "s"}
    called = replace(config, webhook=True)
    assert (await PLATFORM.revoke(called, HTTPS, None)).startswith("The webhook is deleted. The token still works")
    assert tg.double.webhook == {}
    with pytest.raises(Retry):
        await PLATFORM.revoke(replace(called, api_url="http://127.0.0.1:9"), HTTPS, None)
    wrong = "7000000001:AAE-another-token-than-the-right_one"
    assert "worthless already" in await PLATFORM.revoke(replace(called, token=wrong), HTTPS, None)


async def test_the_doctor_sees_what_is_wrong(tg: Bench) -> None:
    """Privacy mode, a webhook that is set though we poll, one that is set elsewhere, and failed calls."""
    tg.double.reads_all = False
    assert "/setprivacy" in of(await said(tg), "privacy mode is on")
    tg.double.webhook = {"url": "https://elsewhere.example.org/x", "secret_token": "s"}
    assert "another program" in of(await said(tg), "a webhook is set")
    assert "Start bridgebot" in of(await said(tg, webhook=True), "does not call this installation")
    ours = f"{HTTPS}/bots/tg/hook/{tg.config.webhook_path}"
    tg.double.webhook = {"url": ours, "last_error_date": 1_800_000_000, "last_error_message": "Connection timed out"}
    tg.double.updates.append({"update_id": 1})
    assert "reachable from the internet" in of(await said(tg, webhook=True), "Connection timed out")
    assert "Add the account anew" in of(await said(tg, webhook=True, webhook_secret=""), "no secrets")


async def test_the_doctor_sees_a_dead_account(tg: Bench) -> None:
    """A token that is no longer good, and a server that is not there."""
    assert "@BotFather" in of(await said(tg, token="7000000001:AAE-another-token-than-the-right_one"), "refuses")
    assert "api_url" in of(await said(tg, api_url="http://127.0.0.1:9"), "does not answer")
