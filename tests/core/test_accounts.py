"""Accounts and secrets at rest: what the store holds gives nothing away, and a changed key is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import keys, secrets
from core.accounts import ACCOUNTS, MAX_ID_CHARS, Account, AccountError, Accounts, as_id, check_id, suggestions
from core.contract import Secret
from core.model import AccountId, PlatformId
from core.secrets import SecretKeyError
from core.store import Redis
from tests.conftest import FakeClock
from tests.servers.store import dump_of

KEY = "k" * 40
CANARY = "canary-4711-secret"
PLATFORM = PlatformId("somewhere")


class Login(msgspec.Struct, frozen=True):
    """A part of a configuration."""

    user: str = ""
    password: Annotated[str, Secret] = ""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration with secrets at every depth."""

    server: str
    token: Annotated[str, Secret]
    more: Annotated[str, Secret] | None = None
    login: Login | None = None
    logins: tuple[Login, ...] = ()
    by_name: dict[str, Login] = {}
    extra: list[Annotated[str, Secret]] = []


FULL = Config(
    server="irc.example",
    token=CANARY,
    more=CANARY,
    login=Login("a", CANARY),
    logins=(Login("b", CANARY), Login("c")),
    by_name={"x": Login("d", CANARY)},
    extra=[CANARY],
)


@pytest.fixture
def accounts(store: Redis, clock: FakeClock) -> Accounts:
    """The accounts of an empty store."""
    return Accounts(store, KEY, clock.now_ms)


async def test_an_account_comes_back_as_it_was_added(accounts: Accounts, clock: FakeClock) -> None:
    """Configuration, platform and time survive the store; removing forgets."""
    await accounts.add("libera", PLATFORM, FULL)
    await accounts.add("another", PLATFORM, Config(server="s", token=""))
    stored = await accounts.get("libera")
    assert stored is not None
    assert accounts.open(stored, Config) == FULL
    assert (stored.platform, stored.added_at_ms) == (PLATFORM, clock.at_ms)
    assert [account.id for account in await accounts.list()] == ["another", "libera"]
    assert await accounts.remove("libera")
    assert not await accounts.remove("libera")
    assert await accounts.get("libera") is None


async def test_a_dump_of_the_store_shows_no_secret(accounts: Accounts, store: Redis) -> None:
    """Secrets at any depth are encrypted, the secret key is nowhere; what is no secret stays readable."""
    await secrets.check_key(store, KEY)
    await accounts.add("libera", PLATFORM, FULL)
    dump = await dump_of(store)
    assert b"irc.example" in dump
    assert CANARY.encode() not in dump
    assert KEY.encode() not in dump


async def test_a_sealed_secret_cannot_be_moved(accounts: Accounts, store: Redis) -> None:
    """Somebody who can write the store cannot have one account's secret used as another's."""
    await accounts.add("one", PLATFORM, FULL)
    record = await store.hget(ACCOUNTS, "one")
    assert isinstance(record, bytes)
    await store.hset(ACCOUNTS, "two", record.replace(b'"id":"one"', b'"id":"two"'))
    stolen = await accounts.get("two")
    assert stolen is not None
    assert stolen.id == "two"
    with pytest.raises(AccountError, match="another SECRET_KEY"):
        accounts.open(stolen, Config)


async def test_another_key_opens_nothing_and_says_so(accounts: Accounts, store: Redis, clock: FakeClock) -> None:
    """With a changed key an account's error names the account and the way out, not garbage."""
    await accounts.add("libera", PLATFORM, FULL)
    other = Accounts(store, "o" * 40, clock.now_ms)
    stored = await other.get("libera")
    assert stored is not None
    with pytest.raises(AccountError, match=r"account libera .* bridgebot accounts remove libera"):
        other.open(stored, Config)


async def test_records_of_another_version_open_or_explain(accounts: Accounts, store: Redis) -> None:
    """Unknown fields are ignored; a field that no longer fits is named, without its value."""
    newer = {"id": "a", "platform": "p", "config": {"server": "s", "token": "", "new": 1}, "newer": True}
    await store.hset(ACCOUNTS, "a", msgspec.json.encode(newer))
    stored = await accounts.get("a")
    assert stored is not None
    assert accounts.open(stored, Config) == Config(server="s", token="")
    broken = Account(AccountId("b"), PLATFORM, {"server": 5, "token": CANARY})
    with pytest.raises(AccountError, match="server") as caught:
        accounts.open(broken, Config)
    assert CANARY not in str(caught.value)


async def test_ensure_adds_once(accounts: Accounts) -> None:
    """The same target again is the same account; another target of the same name gets the next free one."""
    assert await accounts.ensure("Irc.Example", PLATFORM, FULL) == ("irc-example", True)
    assert await accounts.ensure("irc.example", PLATFORM, FULL) == ("irc-example", False)
    other = Config(server="elsewhere", token="")
    assert await accounts.ensure("irc.example", PLATFORM, other) == ("irc-example-2", True)
    assert await accounts.ensure("irc.example", PLATFORM, other) == ("irc-example-2", False)


async def test_a_taken_id_is_refused_with_a_free_one(accounts: Accounts) -> None:
    """Adding never overwrites; the error offers a name that works."""
    await accounts.add("libera", PLATFORM, FULL)
    with pytest.raises(AccountError, match="'libera-2'"):
        await accounts.add("libera", PLATFORM, Config(server="s", token=""))


async def test_every_change_is_announced(accounts: Accounts, store: Redis) -> None:
    """Hosts that listen learn of an added and of a removed account, and of nothing else."""
    async with store.pubsub() as listener:
        await listener.subscribe(ACCOUNTS)
        await listener.get_message(timeout=5)
        await accounts.ensure("a", PLATFORM, FULL)
        await accounts.ensure("a", PLATFORM, FULL)
        await accounts.remove("nobody")
        await accounts.remove("a")
        await store.publish(ACCOUNTS, "end")
        heard = [(await listener.get_message(timeout=5) or {})["data"] for _ in range(3)]
    assert heard == [b"changed", b"changed", b"end"]


@pytest.mark.parametrize("bad", ["", "-a", "A", "a/b", "a b", "a" * 33, "ä", "a\n", "a:b", "{a}"])
def test_bad_ids_are_refused(bad: str) -> None:
    """An id that would break a key, a path or a room id is no id."""
    with pytest.raises(AccountError, match="small letters"):
        check_id(bad)


@given(st.text())
def test_every_suggestion_can_be_used(wanted: str) -> None:
    """Whatever was wanted, what is suggested is valid, and each suggestion differs."""
    options = suggestions(wanted)
    first = [next(options) for _ in range(12)]
    assert all(check_id(option) == option for option in first)
    assert len(set(first)) == 12
    assert check_id(as_id(wanted))
    assert max(map(len, first)) <= MAX_ID_CHARS


async def test_a_changed_secret_key_is_noticed_and_can_be_accepted(store: Redis) -> None:
    """The first key is learnt; another one is refused with what breaks and how to mend it, until accepted."""
    await secrets.check_key(store, KEY)
    await secrets.check_key(store, KEY)
    other = "o" * 40
    with pytest.raises(SecretKeyError, match="links that were given out stop working") as caught:
        await secrets.check_key(store, other)
    assert other not in str(caught.value)
    await secrets.accept_key(store, other)
    await secrets.check_key(store, other)
    with pytest.raises(SecretKeyError):
        await secrets.check_key(store, KEY)
    kept = await store.hgetall(keys.META)
    assert not any(KEY.encode() in value or other.encode() in value for value in kept.values())


@pytest.mark.parametrize("bad", ["", "short"])
def test_a_key_that_is_missing_or_short_is_refused(bad: str) -> None:
    """The error says how to make a good one."""
    with pytest.raises(SecretKeyError, match="openssl rand -hex 32"):
        secrets.require_key(bad)


def test_the_key_is_made_once_and_closed(tmp_path: Path) -> None:
    """Made with 256 bits, readable by its owner only, the same again, and closed again if somebody opened it."""
    assert secrets.read_key(tmp_path) == ""
    key = secrets.make_key(tmp_path)
    path = tmp_path / secrets.KEY_FILE
    assert len(key) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert secrets.make_key(tmp_path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir()] == [secrets.KEY_FILE]


def test_a_damaged_key_file_is_not_replaced(tmp_path: Path) -> None:
    """A key that was cut short is an error and not a reason to make a new one."""
    (tmp_path / secrets.KEY_FILE).write_text("abc\n")
    with pytest.raises(SecretKeyError, match="3 characters"):
        secrets.make_key(tmp_path)


def test_purposes_have_keys_of_their_own() -> None:
    """What one purpose's key gives away is worthless to another's."""
    assert len({secrets.derive(key, purpose) for key in (KEY, "o" * 40) for purpose in ("a", "b")}) == 4
