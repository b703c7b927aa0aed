"""Teams add their accounts in the portal, connect the rooms, look after them, and take them away again."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import pytest
from msgspec.structs import replace

from bots import registry
from bridgebot.commands.adding import same_credentials
from core.accounts import Accounts
from core.contract import Secret, asked
from core.owners import Owner, Owners
from core.store import Redis
from tests.bridgebot.support import KEY
from tests.portal import teahouse
from tests.portal.conftest import submit
from tests.portal.house import LOBBY, OFFICE, OLGA, House, open_house, open_web


@pytest.fixture(autouse=True)
def tea_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teahouse is in the registry."""
    monkeypatch.setitem(registry.PLATFORMS, "tea", teahouse.ROW)


@pytest.fixture
async def house(store: Redis, store_url: str) -> AsyncIterator[House]:
    """An installation where members add accounts."""
    async with open_house(store_url) as found:
        yield found


async def test_from_the_form_to_connected_rooms(house: House) -> None:
    """A member adds an account, sees its rooms, connects one: both rooms are told, and the security log knows who."""
    client = await house.sign_in()
    assert "/accounts" in await house.page(client, "/room")
    assert 'href="/add/tea"' in await house.page(client, "/accounts")
    account = await house.add(client, "good-jade-4711")
    assert account == "jade"
    text = await house.until(client, "/account/jade", lambda page: "Online" in page and "Green tea" in page)
    for words in ("the service knows jade", "What is left to do", f"Tell the service to call {house.url}/bots/jade."):
        assert words in text
    assert "good-jade" not in text
    response = await submit(client, "/account/jade", "/account/jade/connect", room="jade/green", **{"with": "room"})
    assert response.headers["Location"] == "/account/jade"
    assert "now connected to Lobby (Inn), by Ada" in await house.page(client, "/account/jade")
    await house.hears("jade/green", "now connected to Lobby (Inn), by Ada")
    await house.hears(LOBBY, "now connected to Green tea (Teahouse), by Ada")
    log = [(line.room, line.act, line.actor) async for line in house.node.directory.security_log()]
    assert {("jade/green", "connect", "Ada"), (LOBBY, "connect", "Ada")} <= set(log)


async def test_what_the_service_refuses_is_said_and_what_was_typed_stays(house: House) -> None:
    """Plain words, everything but the secrets in the form again, and nothing is added."""
    client = await house.sign_in()
    text = await house.refused(client, token="bad-canary", rooms="red blue", limit="7", loud="yes", blend="strong")
    assert "Teahouse does not take it: Copy the whole token from the service, not [hidden]." in text
    assert "canary" not in text
    assert 'value="red blue"' in text
    assert 'value="7"' in text
    assert 'value="yes" selected' in text
    assert 'value="strong" selected' in text
    assert "never sent back to the page" in text
    assert "Teahouse does not answer: no route to tea.example." in await house.refused(client, token="silent")
    assert "Something went wrong while asking" in await house.refused(client, token="crash")
    assert "At nowhere there is no [hidden]." in await house.refused(client, token="good-canary", server="nowhere")
    assert [account.id for account in await house.node.accounts.list()] == ["inn"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"token": " "}, "Bot token is needed."),
        ({"limit": "many"}, "Write a whole number."),
        ({"limit": "0"}, "Limit cannot be that"),
        ({"blend": "cold"}, "Write one of: mild, strong."),
        ({"key": "/etc/passwd"}, "Key: paste what is in the file"),
        ({"token": "good-x\0y"}, "Bot token cannot be that."),
    ],
)
async def test_what_cannot_be_is_marked_at_its_field(house: House, fields: dict[str, str], says: str) -> None:
    """The problem stands with the field, which says so to screen readers, and the service is not asked."""
    text = await house.refused(await house.sign_in(), **({"token": "good-x"} | fields))
    name = next(iter(fields))
    assert says in text
    assert f'id="field-{name}-problem"' in text
    assert re.search(rf'name="{name}"[^>]*aria-invalid="true" autofocus', text)


async def test_no_file_of_this_machine_is_read(house: House) -> None:
    """A secret that looks like a path is a secret; on the command line it would be the file's content (threat 35)."""
    client = await house.sign_in()
    assert await house.add(client, "good-odd", key='{"private": "@/etc/passwd"}') == "odd"
    assert "not [hidden]" in await house.refused(client, token="@/etc/hostname")
    tea = await house.tea("odd")
    assert (tea.config.key, tea.config.token) == ('{"private": "@/etc/passwd"}', "good-odd")


async def test_through_a_portal_to_its_room(house: House) -> None:
    """Who comes from a portal's page connects with its room; once it is closed, with their own."""
    token = await house.node.deps.links.issue_revocable("portal", OFFICE)
    stranger, client = house.browser(), await house.sign_in()
    assert f'href="/p/{token}/account"' in await house.page(stranger, f"/p/{token}")
    assert "-sameroom manage" in await house.page(stranger, f"/p/{token}/account")
    response = await submit(client, f"/p/{token}/account", f"/p/{token}/account")
    assert response.headers["Location"] == "/accounts"
    assert "You came to connect with" in await house.page(client, "/accounts")
    account = await house.add(client, "good-oolong")
    text = await house.until(client, f"/account/{account}", lambda page: "Black tea" in page)
    assert text.index("Office") < text.index("Lobby")
    form = {"room": f"{account}/black", "with": "portal"}
    assert (await submit(client, f"/account/{account}", f"/account/{account}/connect", **form)).status == 303
    await house.hears(OFFICE, "now connected to Black tea (Teahouse), by Ada")
    await house.node.deps.links.revoke("portal", OFFICE)
    text = await house.page(client, f"/account/{account}")
    assert 'Connect with <bdi class="room-name">Lobby</bdi>' in text
    assert await house.act(client, account, "connect", room=f"{account}/white", **{"with": "portal"}) == 410


async def test_who_may_add_is_the_operators_choice(store: Redis, store_url: str) -> None:
    """nobody: there are no pages. operator: members see theirs and add none, the operator adds."""
    token = ""
    for choice in ("nobody", "operator"):
        await store.flushall()
        async with open_house(store_url, add_accounts=choice) as house:
            client = await house.sign_in()
            token = await house.node.deps.links.issue_revocable("portal", OFFICE)
            assert "/account" not in await house.page(client, f"/p/{token}")
            if choice == "nobody":
                for path in ("/accounts", "/account/inn", f"/p/{token}/account"):
                    await house.page(client, path, 404)
                await house.page(client, await house.operator_path(), 401)
                continue
            assert "The operator adds accounts here" in await house.page(client, "/accounts")
            for path in ("/add/tea", f"/p/{token}/account"):
                await house.page(client, path, 403)
            assert "/add/tea" not in await house.page(client, "/accounts")
            operator = await house.sign_in(await house.operator_path())
            assert await house.add(operator, "good-pu") == "pu"


async def test_the_operator_sees_and_removes_all(house: House) -> None:
    """The link works once and for nothing else; a member's account is shown with its owner; there is no room page."""
    member = await house.sign_in()
    account = await house.add(member, "good-jade")
    path = await house.operator_path()
    operator = await house.sign_in(path)
    await house.page(house.browser(), path, 410)
    text = await house.page(operator, "/accounts")
    assert "All accounts" in text
    assert text.index(">inn<") < text.index(">jade<")
    assert "by <bdi>Ada</bdi>" in text
    await house.page(operator, "/room", 404)
    assert "Connect a room" in await house.page(operator, "/account/inn")
    assert await house.act(operator, account, "look") == 303
    assert await house.act(operator, account, "remove") == 303
    assert await house.node.accounts.get(account) is None
    assert "inn" not in re.sub("inn/|Inn", "", await house.page(member, "/accounts"))


async def test_how_an_account_is(house: House) -> None:
    """Offline with its reason, findings and steps without secrets, rooms that cannot be listed; looked at on demand."""
    client = await house.sign_in()
    for name in ("broken", "mute", "sick", "empty"):
        assert await house.add(client, f"good-{name}-canary") == name
    text = await house.until(client, "/account/broken", lambda page: "hung up" in page)
    assert "the service hung up on [hidden]" in text
    assert ">Offline<" in text
    text = await house.until(client, "/account/mute", lambda page: "Online" in page)
    assert "does not list the rooms: <bdi>the service counts rooms for [hidden]</bdi>" in text
    text = await house.page(client, "/account/sick")
    assert 'class="is-bad"' in text
    assert "it pours with [hidden]" in text
    assert "Warm [hidden] up." in text
    text = await house.until(client, "/account/empty", lambda page: "Online" in page)
    assert "It sees no room yet" in text
    assert "Call @empty and say: -sameroom connect CODE" in text
    assert await house.act(client, "sick", "look") == 303
    assert "canary" not in text + await house.page(client, "/account/sick")


async def test_another_process_has_it(store: Redis, store_url: str) -> None:
    """Where the bots run apart, the page says that it cannot see how the account is, and lists the rooms."""
    async with open_house(store_url, frozenset({"relay", "bots"})) as bots, open_web(store_url) as house:
        assert bots.node.host
        client = await house.sign_in()
        await house.add(client, "good-jade")
        text = await house.until(client, "/account/jade", lambda page: "Another process of this bridge has it" in page)
        assert "Green tea" in text


async def test_removed_and_its_connections_end(house: House, store: Redis) -> None:
    """The page names the connections first; they end, the other room is told, and no secret is left in the store."""
    client = await house.sign_in()
    await connected(house, client, "good-jade-canary", "jade/green")
    text = await house.page(client, "/account/jade")
    assert "Green tea (Teahouse)" in text[text.index('id="remove"') :]
    before = await store.hget("bb:accounts", "jade")
    assert before
    assert await house.act(client, "jade", "remove", end="yes") == 303
    await house.hears(LOBBY, "Green tea (Teahouse)")
    assert "jade is removed" in await house.page(client, "/accounts")
    assert not (await house.node.directory.sameroom(LOBBY)).tubes
    await house.page(client, "/account/jade", 404)
    sealed = re.search(rb'"\$sealed":"([^"]+)"', before)
    assert sealed
    for key in [key async for key in store.scan_iter()]:
        assert sealed[1] not in (await store.dump(key) or b""), key


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jade", "Teahouse: [hidden] is poured away."),
        ("sour", "Teahouse: could not be revoked: the service keeps [hidden]. Pour it away at tea.example."),
        ("odd", "Teahouse: could not be revoked: something went wrong, see the log. Pour it away at tea.example."),
        ("stuck", "Teahouse: could not be revoked: no answer in 0 s. Pour it away at tea.example."),
        ("plain", ""),
    ],
)
async def test_removal_is_never_held_up(house: House, monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    """Whatever the service does, the account goes, and what became of its token is told without showing it (25, 34)."""
    monkeypatch.setattr("bridgebot.revoking.REVOKE_S", 0.1)
    client = await house.sign_in()
    account = await house.add(client, f"good-{name}-canary")
    assert "revoked at <bdi>Teahouse</bdi> as far as that lets us" in await house.page(client, f"/account/{account}")
    assert await house.act(client, account, "remove") == 303
    text = await house.page(client, "/accounts")
    assert f"{account} is removed, and its secrets with it.{words and ' '}{words}</bdi>" in text
    assert "canary" not in text
    assert await house.node.accounts.get(account) is None


async def test_a_file_for_the_service(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever added the account saves it, by a form and within the hour; it is never shown, and others get nothing."""
    ada, olga = await house.sign_in(), await house.sign_in(person=OLGA, room=OFFICE)
    account = await house.add(ada, "good-cup-canary")
    text = await house.page(ada, f"/account/{account}")
    assert "cups.yaml" in text
    assert "canary" not in text
    response = await submit(ada, f"/account/{account}", f"/account/{account}/file")
    assert await response.text() == f"{house.url}/bots/cup takes good-cup-canary\n"
    assert response.headers["Content-Disposition"].startswith('attachment; filename="cups.yaml"')
    assert (response.content_type, response.headers["Cache-Control"]) == ("application/octet-stream", "no-store")
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; sandbox")
    assert await house.act(olga, account, "file") == 404
    await house.page(ada, f"/account/{account}/file", 405)
    plain = await house.add(ada, "good-jade")
    assert "/file" not in await house.page(ada, f"/account/{plain}")
    assert await house.act(ada, plain, "file") == 404
    monkeypatch.setattr("bridgebot.tending.FILE_S", -1)
    assert await house.act(ada, account, "file") == 404
    assert "cups.yaml" not in await house.page(ada, f"/account/{account}")


async def test_nobody_revokes_in_our_own_network(house: House) -> None:
    """What a member typed is asked behind the fence at the end, too (threat 13)."""
    client = await house.sign_in()
    account = await house.add(client, "good-jade")
    stored = await house.node.accounts.get(account)
    assert stored
    inside = teahouse.TeaConfig(token="good-jade", name="jade", server=f"{house.url}/healthz")
    await house.node.accounts.renew(stored, inside)
    assert await house.act(client, account, "remove") == 303
    assert "could not be revoked: something went wrong" in await house.page(client, "/accounts")
    assert await house.node.accounts.get(account) is None


async def connected(house: House, client: object, token: str, room: str) -> None:
    """An account with one of its rooms connected to the visitor's."""
    account = await house.add(client, token)  # type: ignore[arg-type]
    await house.tea(account)
    form = {"room": room, "with": "room"}
    assert await house.act(client, account, "connect", **form) == 303  # type: ignore[arg-type]
    await house.hears(room, "now connected")


async def test_a_name_stays_its_owners(house: House, store: Redis) -> None:
    """What waits for a removed account is heard by nobody under a like name; its owner gets it back (threat 29)."""
    ada, olga = await house.sign_in(), await house.sign_in(person=OLGA, room=OFFICE)
    await connected(house, ada, "good-jade", "jade/green")
    assert await house.act(ada, "jade", "remove", end="no") == 303
    assert (await house.node.directory.sameroom(LOBBY)).tubes
    assert await house.add(olga, "good-jade") == "jade-2"
    assert await house.add(ada, "good-jade-again") == "jade"
    # An account that the operator had is nobody else's either.
    await house.node.accounts.remove("inn")
    assert await house.add(olga, "good-inn") == "inn-2"


async def test_what_the_operator_adds_again_is_the_operators(house: House) -> None:
    """A member's account that the operator removed and added anew under its name is no longer the member's."""
    client = await house.sign_in()
    account = await house.add(client, "good-jade")
    await house.node.accounts.remove(account)
    config = teahouse.TeaConfig(token="good-other", name="other")
    await house.node.accounts.add(account, teahouse.PLATFORM.id, config)
    assert f"{account} is here" in await house.page(client, "/accounts")
    await house.page(client, f"/account/{account}", 404)
    assert account not in await house.page(client, "/accounts")


async def test_the_same_account_again(house: House) -> None:
    """One's own is found; somebody else's is not shown, whoever has the same token."""
    ada, olga = await house.sign_in(), await house.sign_in(person=OLGA, room=OFFICE)
    assert await house.add(ada, "good-jade") == "jade"
    assert await house.add(ada, "good-jade") == "jade"
    text = await house.refused(olga, token="good-jade")
    assert "This account is here already, and somebody else added it." in text
    assert "jade" not in re.sub("good-jade", "", text)
    assert "This account is here already" in await house.refused(olga, token="good-inn")


async def test_a_teams_account_is_offered_to_nobody_else(house: House) -> None:
    """The pages for everybody invite the operator's accounts, and do not say whose teams are here (threat 29)."""
    client = await house.sign_in()
    for token in ("good-jade", "good-jade-again"):
        account = await house.add(client, token)
        await house.until(client, f"/account/{account}", lambda page: "Online" in page)
        portal = await house.node.deps.links.issue_revocable("portal", OFFICE)
        for _ in range(3):
            front = await house.page(house.browser(), "/")
            assert "Call @inn and say" in front
            assert "jade" not in front + await house.page(house.browser(), f"/p/{portal}")
        assert await house.act(client, account, "remove") == 303
    operator = await house.sign_in(await house.operator_path())
    await house.add(operator, "good-oolong")
    await house.until(operator, "/", lambda page: "Call @oolong and say" in page)


async def test_a_person_has_only_so_many(house: House, store: Redis) -> None:
    """Whoever has twenty removes one first; the operator's are not counted (threat 33)."""
    client = await house.sign_in()
    desk = house.node.accounts
    for number in range(20):
        name = f"jade{number}"
        await desk.add(name, teahouse.PLATFORM.id, teahouse.TeaConfig(token=f"good-{name}", name=name))
        stored = await desk.get(name)
        assert stored
        owner = Owner("inn/ada", "Ada", LOBBY, teahouse.PLATFORM.id)
        if number:
            await Owners(store).confirm(stored, owner)
    assert await house.add(client, "good-last") == "last"
    assert "You have 20 accounts here" in await house.refused(client, token="good-more")


async def test_the_page_waits_for_a_new_account(store: Redis, store_url: str) -> None:
    """While no process has taken it up it says so, and looks again by itself without a script; later it does not."""
    async with open_web(store_url) as house:
        operator = await house.sign_in(await house.operator_path())
        await house.add(operator, "good-empty")
        async with operator.get("/account/empty") as response:
            assert response.headers["Refresh"] == "4"
            assert "No process of this bridge has taken it up yet." in await response.text()
        await house.add(operator, "good-jade")
        async with operator.get("/account/jade") as response:
            assert "Refresh" not in response.headers


class OptionalConfig(msgspec.Struct, frozen=True):
    """An account of a server, by a token or a password."""

    server: Annotated[str, asked("Server")]
    token: Annotated[str, asked("Token", secret=True)] = ""
    name: str = ""
    made_up: Annotated[str, Secret] = ""


async def test_two_bots_of_one_server_are_two(store: Redis) -> None:
    """Where no secret has to be given, what the service told says who an account is (two teams, one server)."""
    platform = replace(teahouse.PLATFORM, config=OptionalConfig)
    accounts = Accounts(store, KEY, lambda: 1)
    await accounts.add("one", platform.id, OptionalConfig("s", "t1", "one", "x"))
    assert await same_credentials(accounts, platform, OptionalConfig("s", "t2", "one", "y")) == "one"
    assert await same_credentials(accounts, platform, OptionalConfig("s", "t1", "two", "x")) is None


async def test_rooms_are_found_among_many(house: House) -> None:
    """A filter finds a room by a part of its name; the page never holds more than a hundred."""
    client = await house.sign_in()
    await house.add(client, "good-many", rooms=" ".join(f"leaf{number}" for number in range(150)))
    text = await house.until(client, "/account/many", lambda page: "Green tea" in page)
    assert text.count('name="room"') == 100
    assert "And 53 more." in text
    text = await house.page(client, "/account/many?q=LEAF149")
    assert text.count('name="room"') == 1
    assert "Leaf149 tea" in text
    assert "No room has that in its name." in await house.page(client, "/account/many?q=coffee")


async def test_rules_of_typed_commands_hold(store: Redis, store_url: str) -> None:
    """Where only admins connect, owning the account is not enough: the room's own people decide."""
    async with open_house(store_url, connect="admins") as house:
        (await house.tea("inn")).admins.add("ada")
        client = await house.sign_in()
        account = await house.add(client, "good-jade")
        await house.tea(account)
        assert await house.act(client, account, "connect", room=f"{account}/green", **{"with": "room"}) == 303
        assert "Only people who run this room may use" in await house.page(client, f"/account/{account}")
        assert not (await house.node.directory.sameroom(LOBBY)).tubes
