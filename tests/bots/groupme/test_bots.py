"""An account that is one bot in each group: callbacks that nobody signs, posts whose ids come back by callback."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from bots.emit import AccountEmit
from bots.groupme import PLATFORM
from bots.groupme.callback import Callbacks
from bots.groupme.payload import Message, read
from core.contract import AuthLost, Edits, Finds, History, Rejected, Retry, Since, Uncertain
from core.deps import make_deps
from core.model import BotAdded, BotRemoved, MessageNew, NativeId, RoomRenamed
from core.settings import Settings
from core.store import Redis, StoreDown
from tests.bots.groupme.scene import ME, PEOPLE, TOKEN
from tests.bots.groupme.support import ANN, BOB, GM, GROUP, ROOM, Account, group_bot, post
from tests.contract.harness import Site, services
from tests.contract.stage import Recorder


def payload(**more: Any) -> dict[str, Any]:
    """What a callback brings."""
    base = {"id": "1001", "group_id": GROUP, "sender_id": PEOPLE[ANN], "sender_type": "user", "name": "Ann"}
    return {**base, "text": "hi", "created_at": 1767323045, "system": False, "attachments": [], **more}


async def request(account: Account, path: str = "", method: str = "POST", **options: Any) -> int:
    """The status that somebody out there gets."""
    url = f"{account.site.account_url(GM)}/{path or account.config.path(GROUP)}"
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as response:
        return response.status


async def keys_of(store: Redis) -> list[bytes]:
    """Everything that is stored."""
    return sorted(await store.keys("*"))


async def test_what_is_said_comes_by_callback(store: Redis) -> None:
    """Messages arrive in order, other bots as bridged, our own not at all, and the bot is announced once."""
    async with group_bot(store) as account:
        assert [event.room for event in account.of(BotAdded)] == [ROOM]
        account.say("one")
        await account.adapter.send(post("ours"))
        other = account.double.bot("b99", GROUP, "Referee", "", PEOPLE[BOB])
        await account.double._client.post(  # type: ignore[union-attr]
            f"{account.double.url}/v3/bots/post", json={"bot_id": other.bot_id, "text": "theirs"}
        )
        account.say("two")
        await account.until(lambda: "two" in account.texts())
        assert account.texts() == ["one", "theirs", "two"]
        assert [event.bridged for event in account.of(MessageNew)] == [False, True, False]
        assert {status for _, _, status in account.double.callbacks} == {200}


async def test_the_id_of_a_post_comes_from_its_echo(store: Redis) -> None:
    """The receipt has the ids of all parts, so that replies find them, also when the same is said again."""
    async with group_bot(store) as account:
        first = await account.adapter.send(post("word " * 300, "k1"))
        second = await account.adapter.send(post("same", "k2"))
        third = await account.adapter.send(post("same", "k3", reply_to=second.natives[0]))
        lines = account.double.lines(GROUP)
        assert [line["id"] for line in lines] == [*first.natives, *second.natives, *third.natives]
        assert len(lines) == 4
        assert lines[3]["attachments"][0]["reply_id"] == second.natives[0]


async def test_an_old_echo_again_is_not_the_new_ones(store: Redis) -> None:
    """The callback of an earlier post with the same words, delivered once more, gives its id to nobody."""
    async with group_bot(store, echo_s=5.0) as account:
        await account.adapter.send(post("same", "k1"))
        await account.until(lambda: account.double.callbacks)
        old = account.double.callbacks[-1][1]
        account.double.hold_callbacks = True
        sending = asyncio.create_task(account.adapter.send(post("same", "k2")))
        await account.until(lambda: len(account.double.lines(GROUP)) == 2)
        assert await request(account, json=old) == 200
        new = account.double.lines(GROUP)[1]
        assert await request(account, json=old | {"id": new["id"]}) == 200
        assert (await sending).natives == (new["id"],)
        assert account.texts() == []


async def test_callbacks_that_come_together_keep_their_order(store: Redis) -> None:
    """What follows a command waits until the command is confirmed."""
    async with group_bot(store, token=TOKEN) as account:
        account.double.hold_callbacks = True
        real = account.say("-sameroom list")
        gate = asyncio.Event()
        account.double.fail(f"GET /v3/groups/{GROUP}/messages", until=gate)
        first = asyncio.create_task(request(account, json=payload(text="-sameroom list", id=real)))
        await account.until(lambda: account.double.faults[-1].times == 0)
        second = asyncio.create_task(request(account, json=payload(text="and then", id="2")))
        third = asyncio.create_task(request(account, method="GET"))
        assert await third == 200
        gate.set()
        assert (await first, await second) == (200, 200)
        assert account.texts() == ["-sameroom list", "and then"]


async def test_a_bot_that_hears_nothing_is_not_slow(store: Redis) -> None:
    """Where callbacks do not come, posts wait for them a few times and then not at all."""
    async with group_bot(store, echo_s=0.05) as account:
        account.double.hold_callbacks = True
        loop = asyncio.get_running_loop()
        for number in range(3):
            assert (await account.adapter.send(post(f"deaf {number}", f"k{number}"))).natives == ()
        began_s = loop.time()
        for number in range(10):
            await account.adapter.send(post(f"still deaf {number}", f"d{number}"))
        assert loop.time() - began_s < 10 * 0.05
        account.double.hold_callbacks = False
        await account.adapter.send(post("heard again", "k9"))
        await account.until(lambda: any(p["text"] == "heard again" for _, p, _ in account.double.callbacks))
        assert (await account.adapter.send(post("and its id", "k10"))).natives


async def test_wrong_paths_and_wrong_groups_touch_nothing(store: Redis) -> None:
    """Threats 1, 2 and 31: an unknown path is 404, another group than the path's 401, and the store stays as it was."""
    async with group_bot(store) as account:
        account.events.seen.clear()
        before = await keys_of(store)
        right = account.config.path(GROUP)
        for path in ("x", right[:-1], right + "0", right.upper(), account.config.path("999"), "%ff%fe", "é"):
            assert await request(account, path, json=payload()) == 404, path
            assert await request(account, path, "GET") == 404
        for group in ("999", "", None, 5, "é"):
            assert await request(account, json=payload(group_id=group)) in (400, 401), group
        assert await request(account, json=payload(group_id="999")) == 401
        assert account.events.seen == []
        assert await keys_of(store) == before
        assert await request(account, method="GET") == 200


async def test_odd_bodies_are_never_an_error_of_ours(store: Redis) -> None:
    """Threats 18 and 31: malformed, compressed and endless bodies are refused."""
    async with group_bot(store) as account:
        account.events.seen.clear()
        for body in (b"", b"{", b"[]", b"\xff\xfe\x00", b'{"group_id": [1]}', json.dumps(payload(id=None)).encode()):
            assert await request(account, data=body) in (400, 401), body
        bomb = {"Content-Encoding": "gzip"}
        assert await request(account, data=b"\x1f\x8b" + bytes(100), headers=bomb) == 415
        assert await request(account, data=b"x" * 200_000) == 413

        async def endless() -> Any:
            for _ in range(100):
                yield b"y" * 10_000

        assert await request(account, data=endless()) == 413
        assert account.events.seen == []


async def test_no_secret_no_account(store: Redis) -> None:
    """Threat 1: without a secret there are no routes, and the account refuses to start."""
    async with group_bot(store, start=False, path_key="") as account:
        assert account.adapter.routes(account.events) == ()
        with pytest.raises(Rejected):
            await account.adapter.start(account.events)


async def test_paths_are_long_and_tell_nothing_of_each_other(store: Redis) -> None:
    """Threat 2: 256 bits for each group, all different."""
    async with group_bot(store, start=False) as account:
        paths = {account.config.path(str(group)) for group in range(50)}
        assert len(paths) == 50
        assert {len(path) for path in paths} == {64}


async def test_commands_are_confirmed_where_there_is_a_token(store: Redis) -> None:
    """Threat 2: a forged command on the right path is refused unless GroupMe has that very message."""
    async with group_bot(store, token=TOKEN) as account:
        account.events.seen.clear()
        for forged in (payload(text="-sameroom disable"), payload(text="-sameroom open", id="5")):
            assert await request(account, json=forged) == 401
        real = account.double.say(GROUP, PEOPLE[BOB], "-sameroom list")
        await account.until(lambda: account.texts() == ["-sameroom list"])
        stolen = payload(text="-sameroom list", id=real, sender_id=PEOPLE[ANN])
        assert await request(account, json=stolen) == 401
        other = payload(text="-sameroom disable", id=real, sender_id=PEOPLE[BOB])
        assert await request(account, json=other) == 401
        event = {"type": "group.name_change", "data": {"user": {"id": 1}, "name": "Forged"}}
        assert await request(account, json=payload(system=True, sender_type="system", event=event)) == 401
        assert account.texts() == ["-sameroom list"]
        account.double.rename(GROUP, PEOPLE[ANN], "Orchard")
        await account.until(lambda: account.of(RoomRenamed))
        assert account.adapter.room_info(ROOM).title == "Orchard"


async def test_a_command_that_cannot_be_confirmed_now(store: Redis) -> None:
    """While GroupMe does not answer, a command is neither obeyed nor acknowledged."""
    async with group_bot(store, token=TOKEN) as account:
        account.events.seen.clear()
        account.double.fail(f"GET /v3/groups/{GROUP}/messages", status=500, times=1)
        assert await request(account, json=payload(text="-sameroom disable")) == 503
        assert account.events.seen == []


class Stalling(Recorder):
    """An ``Emit`` whose store takes nothing until it is told."""

    stalled = True

    async def accepted(self) -> None:
        """Refuse."""
        if self.stalled:
            raise StoreDown("stalled")


async def test_a_stalled_store_is_told_to_groupme(store: Redis) -> None:
    """Threat 41: nothing is acknowledged that is not durable; the same callback again is the same event."""
    async with group_bot(store, emit=Stalling()) as account:
        account.events.seen.clear()
        assert await request(account, json=payload()) == 503
        account.events.stalled = False
        assert await request(account, json=payload()) == 200
        first, second = account.of(MessageNew)
        assert first == second


async def test_a_store_that_is_away_is_told_to_groupme(store: Redis) -> None:
    """Threat 41: a bot's message needs the store to tell whose it is; without one the answer is 503."""
    async with group_bot(store, start=False) as account:
        account.adapter._memory._store = Broken()
        assert await request(account, json=payload(sender_type="bot")) == 503


class Broken:
    """A connection to a store that is not there."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(*args: Any, **options: Any) -> None:
            raise ConnectionError("no store")

        return refuse


async def test_the_same_callback_twice_is_taken_once(store: Redis) -> None:
    """Threat 30: the real way in keeps one of two equal callbacks."""
    settings = Settings(secret_key="a secret key for tests, long enough", shards=1)
    deps = make_deps(store, settings, 1, "test", "http://127.0.0.1:8080")
    running = [asyncio.create_task(work) for work in (deps.journals.keep(), deps.ingest.run())]
    counted: list[int] = []
    deps.ingest.on_accepted = lambda account, count: counted.append(count)
    try:
        async with group_bot(store, start=False) as account:
            emit = AccountEmit(account.adapter, PLATFORM, deps)
            callbacks = Callbacks(account.config, "sameroom", [GROUP], account.adapter, emit)
            message = read(payload(), Message)
            assert [await callbacks._hear(message) for _ in range(2)] == [200, 200]
            assert sum(counted) == 1
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_callbacks_work_where_the_account_was_not_started(store: Redis) -> None:
    """Another process posts, this one gets the callbacks: our own are known by what the store says."""
    async with group_bot(store) as account:
        site, events = Site(), Recorder()
        idle = PLATFORM.create(GM, account.config, services(store, GM, site.url))
        site.add(idle, events)
        await site.start()
        try:
            assert account.bot is not None
            account.bot.callback_url = f"{site.account_url(GM)}/{account.config.path(GROUP)}"
            receipt = await account.adapter.send(post("from the other process"))
            assert receipt.natives == (account.double.lines(GROUP)[-1]["id"],)
            account.say("a person")
            await account.until(lambda: events.seen)
            assert [event.text.plain for event in events.seen if isinstance(event, MessageNew)] == ["a person"]
            assert idle.room_info(ROOM).title
        finally:
            await idle.stop()
            await site.stop()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 429, "headers": {"Retry-After": "4"}}, Retry),
        ({"status": 420}, Retry),
        ({"status": 401}, AuthLost),
        ({"status": 400}, Rejected),
        ({"status": 500}, Uncertain),
        ({"drop": "before"}, Uncertain),
        ({"drop": "after"}, Uncertain),
    ],
)
async def test_errors_of_bots(store: Redis, fault: dict[str, Any], error: type[Exception]) -> None:
    """Each failure is what the contract calls it."""
    async with group_bot(store) as account:
        account.double.fail("POST /v3/bots/post", **fault)
        with pytest.raises(error):
            await account.adapter.send(post("hello"))


async def test_a_bot_that_was_deleted(store: Redis) -> None:
    """GroupMe knows the bot no more: the room is told, and the post is given up."""
    async with group_bot(store) as account:
        account.double.bots.clear()
        with pytest.raises(Rejected):
            await account.adapter.send(post("anybody?"))
        assert [event.room for event in account.of(BotRemoved)] == [ROOM]
        with pytest.raises(Rejected):
            await account.adapter.send(post("elsewhere", room=f"{GM}/999"))


async def test_bots_are_made_with_a_token(store: Redis) -> None:
    """A group without a bot gets one that calls us; at the next start the same one is found."""
    for _ in range(2):
        async with group_bot(store, token=TOKEN, bots=GROUP, start=False) as account:
            account.double.bots.clear()
            await account.adapter.start(account.events)
            await account.until(lambda: account.events.is_online)
            (made,) = account.double.bots.values()
            assert (made.group_id, made.callback_url, made.owner) == (GROUP, account.callback, ME)
            await account.adapter._find_bots()
            assert len(account.double.bots) == 1
            assert (await account.adapter.send(post("hello"))).natives


async def test_what_a_token_adds(store: Redis) -> None:
    """With a token gaps are filled and it is known who runs the group; without one, neither is claimed."""
    async with group_bot(store, token=TOKEN) as account:
        first = account.say("first")
        await account.adapter.send(post("ours"))
        account.double.hold_callbacks = True
        account.say("missed")
        found = await account.adapter.history(ROOM, Since(NativeId(first), 0))
        assert [event.text.plain for event in found.events] == ["missed"]
        assert await account.adapter.is_admin(ROOM, PEOPLE[ANN])
        await account.adapter.ping(ROOM)
        assert [info.title for info in await account.adapter.rooms()] == ["Garden"]
    async with group_bot(store) as plain:
        assert not isinstance(plain.adapter, (History, Edits, Finds))
        assert plain.adapter.capabilities(ROOM).file == "fallback"
        assert plain.adapter.capabilities(ROOM) is plain.adapter.capabilities(ROOM)
        assert "HLDMU-42K7" in " ".join(plain.adapter.invite("HLDMU-42K7").steps)


async def test_the_secrets_are_in_no_sink(store: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the token nor a bot id, nor a callback path, is in the store or in what is logged."""
    async with group_bot(store, token=TOKEN) as account:
        await account.adapter.send(post("hello"))
        await request(account, json=payload(group_id="999"))
        printed = capsys.readouterr()
        stored = [await store.dump(key) for key in await keys_of(store)]
        everything = printed.out + printed.err + repr(await keys_of(store)) + repr(stored)
        for secret in (TOKEN, "b07", account.config.path(GROUP), account.config.path_key):
            assert secret not in everything
