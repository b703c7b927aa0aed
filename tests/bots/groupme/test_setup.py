"""Adding an account, what doctor says of it, and what its operator is told to do."""

from __future__ import annotations

import re

import msgspec
import pytest
from msgspec.structs import replace

from bots import registry
from bots.groupme import PLATFORM
from bots.groupme.config import GroupMeConfig
from core.contract import Offline, Rejected
from core.model import AccountId
from core.store import Redis
from tests.bots.groupme.scene import ME, TOKEN, config_for, populate
from tests.bots.groupme.support import GM, GROUP, group_bot, member
from tests.fakes.groupme import GroupMeDouble, running_groupme


def test_it_is_registered() -> None:
    """The registry knows the platform, and that a target is no way to start it."""
    assert registry.platform("groupme") is PLATFORM
    with pytest.raises(ValueError, match="accounts add groupme"):
        PLATFORM.from_target("anything")


def test_the_secrets_are_marked() -> None:
    """The token, the bots and the key of the paths are encrypted at rest."""
    fields = {field.name: field.type for field in msgspec.structs.fields(GroupMeConfig)}
    for name in ("token", "bots", "path_key"):
        assert fields[name].__metadata__[0].extra["secret"], name


@pytest.mark.parametrize("wrong", [{"api_url": "api.groupme.com"}, {"token": "a b"}, {"path_key": "short"}])
def test_wrong_settings_say_what_to_write(wrong: dict[str, str]) -> None:
    """A mistake is told in words."""
    with pytest.raises(ValueError, match=r"Write|Copy|Add"):
        GroupMeConfig(**wrong)


async def prepare(double: GroupMeDouble, **more: object) -> tuple[str, GroupMeConfig]:
    """What is stored when this is added."""
    name, config = await PLATFORM.prepare(config_for(double, **more), "https://bridge.example.org")
    assert isinstance(config, GroupMeConfig)
    return name, config


async def test_preparing_a_user(store: Redis) -> None:
    """The token's user is found and gives the account its name."""
    async with running_groupme() as double:
        populate(double, with_me=True)
        name, config = await prepare(double)
        assert (name, config.user_name, config.path_key) == ("groupme-BridgeBot", "BridgeBot", "")
        steps = PLATFORM.next_steps(AccountId("gm"), config, "https://bridge.example.org/bots/gm")
        assert "BridgeBot" in steps[0]


async def test_preparing_bots(store: Redis) -> None:
    """Groups are named by id or name, the paths' key is made up once, and the steps have the addresses to paste."""
    async with running_groupme() as double:
        populate(double, with_me=True)
        name, config = await prepare(double, bots="garden")
        assert (name, config.bots, config.titles) == ("groupme", GROUP, {GROUP: "Garden"})
        assert re.fullmatch(r"[0-9a-f]{64}", config.path_key)
        _, again = await prepare(double, bots=f"{GROUP}:b07", path_key=config.path_key)
        assert again.path_key == config.path_key
        _, by_hand = await prepare(double, bots=f"{GROUP}:b07, 888:b08", token="")
        steps = PLATFORM.next_steps(AccountId("gm"), by_hand, "https://bridge.example.org/bots/gm")
        for group in (GROUP, "888"):
            assert any(f"https://bridge.example.org/bots/gm/{by_hand.path(group)}" in step for step in steps)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"token": "wrong"}, "dev.groupme.com"),
        ({"token": ""}, "access token is needed"),
        ({"token": "", "bots": GROUP}, "GROUP:BOT"),
        ({"bots": "777"}, "not in a group 777"),
        ({"bots": "no such group"}, "is no group"),
        ({"bots": f"{GROUP} {GROUP}:b1"}, "twice"),
    ],
)
async def test_preparing_what_does_not_work(store: Redis, more: dict[str, str], words: str) -> None:
    """Each mistake is told with what to do."""
    async with running_groupme() as double:
        populate(double, with_me=True)
        with pytest.raises(Rejected, match=words):
            await prepare(double, **more)


async def test_preparing_without_groupme() -> None:
    """When nobody answers, it may be tried again."""
    with pytest.raises(Offline):
        await PLATFORM.prepare(GroupMeConfig(token=TOKEN, api_url="http://127.0.0.1:9/v3"), "http://127.0.0.1")


async def test_our_bots_end_with_the_account(store: Redis) -> None:
    """Bots that were made for it are deleted, and no others; what is left to do by hand is said."""
    async with running_groupme() as double:
        populate(double, with_me=True)
        group = next(iter(double.groups))
        _, config = await prepare(double, token=TOKEN, bots=group)
        url = "https://bridge.example.org/bots/gm"
        double.bot("ours", group, "BridgeBot", f"{url}/{config.path(group)}", ME)
        double.bot("older", group, "BridgeBot", f"https://elsewhere.example/{config.path(group)}", ME)
        words = await PLATFORM.revoke(config, url, None)
        assert words.startswith("The bots that were made for it are deleted (1). GroupMe lets nobody revoke")
        assert "ours" not in double.bots
        assert "older" in double.bots
        named = msgspec.structs.replace(config, bots=f"{group}:older")
        assert "delete them at https://dev.groupme.com/bots" in await PLATFORM.revoke(named, url, None)
        assert "older" in double.bots
        wrong = msgspec.structs.replace(config, token="wrong")
        assert "worthless already" in await PLATFORM.revoke(wrong, url, None)


async def test_doctor_and_a_user(store: Redis) -> None:
    """A good account is good all over; a wrong token and a push service that is away are seen."""
    async with member(store) as account:
        found = await PLATFORM.check(account.config, account.site.account_url(GM))
        assert [finding.ok for finding in found] == [True, True]
        account.double.push.cut()
        found = await PLATFORM.check(account.config, account.site.account_url(GM))
        assert [finding.ok for finding in found] == [True, False]
        account.double.push.back()
        (wrong,) = await PLATFORM.check(replace(account.config, token="wrong"), account.site.account_url(GM))
        assert not wrong.ok
        assert "Access Token" in wrong.mend


async def test_doctor_and_bots(store: Redis) -> None:
    """A callback URL that is not ours or that nobody serves, and a bot that is gone, are seen; each has its cure."""
    async with group_bot(store, token=TOKEN) as account:
        url = account.site.account_url(GM)
        found = await PLATFORM.check(account.config, url)
        assert [finding.ok for finding in found] == [True, True, True]
        assert account.bot is not None
        account.bot.callback_url = "https://old.example.org/"
        found = await PLATFORM.check(account.config, "http://127.0.0.1:9/bots/gm")
        assert [finding.ok for finding in found] == [True, False, False]
        assert f"http://127.0.0.1:9/bots/gm/{account.config.path(GROUP)}" in found[1].mend
        assert "PUBLIC_URL" in found[2].mend
        found = await PLATFORM.check(account.config, f"{account.site.url}/elsewhere")
        assert "404" in found[2].what
        account.double.bots.clear()
        assert not (await PLATFORM.check(account.config, url))[1].ok


async def test_doctor_and_an_address_of_our_own_network() -> None:
    """GroupMe itself cannot call an address that only this machine knows, whatever answers there."""
    config = GroupMeConfig(bots=f"{GROUP}:b07", path_key="ab" * 32)
    for host in ("localhost", "127.0.0.1", "10.0.0.7"):
        (finding,) = await PLATFORM.check(config, f"http://{host}:8080/bots/gm")
        assert "cannot reach" in finding.what
