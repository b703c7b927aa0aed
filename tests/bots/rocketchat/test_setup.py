"""Adding an account, what doctor says of it, and what its operator is told to do."""

from __future__ import annotations

import msgspec
import pytest

from bots import registry
from bots.rocketchat import PLATFORM
from bots.rocketchat.config import RocketChatConfig
from core.contract import AdapterError, Offline, Rejected, Rooms
from core.model import AccountId
from core.store import Redis
from tests.bots.rocketchat.scene import ME, TOKEN, config_for, populate
from tests.bots.rocketchat.support import running
from tests.contract.harness import services
from tests.fakes.rocketchat import RocketChatDouble, running_rocketchat


def test_it_is_registered() -> None:
    """The registry knows the platform, and that a target is no way to start it."""
    assert registry.platform("rocket.chat") is PLATFORM
    with pytest.raises(ValueError, match="accounts add rocketchat"):
        PLATFORM.from_target("chat.example.org")


def test_the_secrets_are_marked() -> None:
    """Token and password are encrypted at rest."""
    fields = {field.name: field.type for field in msgspec.structs.fields(RocketChatConfig)}
    for name in ("token", "password"):
        assert fields[name].__metadata__[0].extra["secret"], name


@pytest.mark.parametrize(
    "wrong",
    [{"url": "chat.example.org"}, {"url": "https://"}, {"token": ""}, {"user_id": ""}, {"token": "", "user": "x"}],
)
def test_wrong_settings_say_what_to_write(wrong: dict[str, str]) -> None:
    """A mistake is told in words."""
    with pytest.raises(ValueError, match="Write"):
        RocketChatConfig(**({"url": "https://chat.example.org", "user_id": "u", "token": "t"} | wrong))


def test_where_the_stream_is() -> None:
    """Beside the server's own address, also below a path."""
    config = RocketChatConfig(url="https://example.org/chat/", user_id="u", token="t")
    assert (config.base, config.stream) == ("https://example.org/chat", "wss://example.org/chat/websocket")


async def prepare(double: RocketChatDouble, **more: object) -> tuple[str, RocketChatConfig]:
    """What is stored when this is added."""
    name, config = await PLATFORM.prepare(config_for(double, **more), "https://bridge.example.org")
    assert isinstance(config, RocketChatConfig)
    return name, config


async def test_preparing(store: Redis) -> None:
    """The server gives the account its name, and the user's name stands in the steps."""
    async with running_rocketchat() as double:
        populate(double)
        double.users[ME].password = "pw"
        for more in ({}, {"user_id": "", "token": "", "user": "bridge", "password": "pw"}):
            name, config = await prepare(double, url=f"{double.url}/", **more)
            assert (name, config.username, config.user_id, config.url) == (
                "rocketchat-127-0-0-1",
                "bridge",
                ME,
                double.url,
            )
        steps = PLATFORM.next_steps(AccountId("rc"), config, "https://bridge.example.org/bots/rc")
        assert any("/invite @bridge" in step for step in steps)
        assert any("role bot" in step for step in steps)


async def test_a_session_ends_with_who_signed_in(store: Redis) -> None:
    """Adding, looking and running by password leave no session behind; the removal says that the password is good."""
    async with running(store, start=False) as account:
        double, me = account.double, account.double.users[ME]
        me.password = "pw"
        by_password = {"user_id": "", "token": "", "user": "bridge", "password": "pw"}
        _, config = await prepare(double, **by_password)
        assert all(finding.ok for finding in await PLATFORM.check(config, ""))
        assert me.tokens == {TOKEN}
        adapter = PLATFORM.create(AccountId("pw"), config, services(store, AccountId("pw"), "http://portal.example"))
        assert isinstance(adapter, Rooms)
        assert len(await adapter.rooms()) == 1
        assert len(me.tokens) == 2
        await adapter.stop()
        assert me.tokens == {TOKEN}
        assert "the password still works until you change it" in await PLATFORM.revoke(config, "", None)


async def test_a_personal_access_token_is_removed(store: Redis) -> None:
    """It works no more; where the server does not let us, or it is not known which one it is, people are told where."""
    async with running_rocketchat() as double:
        populate(double)
        me, config = double.users[ME], config_for(double)
        assert "The token still works" in await PLATFORM.revoke(config, "", None)
        me.named_tokens = {"bridge": TOKEN, "laptop": "another-token-of-the-same-user"}
        me.may_make_tokens = False
        with pytest.raises(AdapterError):
            await PLATFORM.revoke(config, "", None)
        assert TOKEN in me.tokens
        me.may_make_tokens = True
        assert await PLATFORM.revoke(config, "", None) == "The personal access token is removed."
        with pytest.raises(Rejected, match="does not accept the login"):
            await prepare(double)
        assert list(me.named_tokens) == ["laptop"]
        assert "does not take the token" in await PLATFORM.revoke(config, "", None)


async def test_preparing_says_what_is_wrong(store: Redis) -> None:
    """A wrong token or password, two factors, no server, another server."""
    async with running_rocketchat() as double:
        populate(double)
        double.users[ME].password = "pw"
        by_password = {"user_id": "", "token": "", "user": "bridge", "password": "pw"}
        with pytest.raises(Rejected, match="does not accept the login"):
            await prepare(double, token="wrong")
        with pytest.raises(Rejected, match="does not accept the login"):
            await prepare(double, **(by_password | {"password": "wrong"}))
        double.users[ME].totp = True
        with pytest.raises(Rejected, match="Personal Access Tokens"):
            await prepare(double, **by_password)
        with pytest.raises(Rejected, match="address"):
            await prepare(double, url=f"{double.url}/elsewhere")
    with pytest.raises(Offline):
        await prepare(double, url="http://127.0.0.1:9")


async def test_doctor(store: Redis) -> None:
    """All is well; then each thing that is missing is seen, and how to mend it."""
    async with running(store, start=False) as account:
        double = account.double

        async def said(**more: object) -> dict[bool, str]:
            found = await PLATFORM.check(config_for(double, **more), "")
            return {ok: " | ".join(f"{f.what} {f.mend}" for f in found if f.ok is ok) for ok in (True, False)}

        well = await said()
        assert well[False] == ""
        for words in ("Rocket.Chat 8.1", "@bridge, who is in 1 rooms", "live stream", "message-impersonate"):
            assert words in well[True]
        double.users[ME].roles = ["user"]
        double.remove(next(iter(double.rooms)), ME)
        lacks = (await said())[False]
        for words in ("message-impersonate", "api-bypass-rate-limit", "role bot", "in no room", "/invite @bridge"):
            assert words in lacks
        double.refuse_sockets = True
        assert "websockets" in (await said())[False]
        assert "does not accept the login" in (await said(token="wrong"))[False]
        assert "Check the server's address" in (await said(url="http://127.0.0.1:9"))[False]
