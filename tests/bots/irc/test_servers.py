"""The adapter on real servers: InspIRCd with and without IRCv3, and ngIRCd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bots.irc.check import findings
from core.contract import Offline, Receipt, Rejected, Retry, Uncertain
from core.model import BotAdded, BotRemoved, Entity, Left, MessageNew, Reaction, Text, Typing
from core.store import Redis
from tests.bots.irc.support import Running, config, post, room, running
from tests.servers.irc import HermeticIrcClient, InspIrcd, NgIrcd

Server = NgIrcd | InspIrcd
Meet = Callable[..., Any]
_names = count()
TWO = pytest.mark.parametrize("server", ["ngircd", "inspircd"], indirect=True)
"""Where a third server would show nothing new."""
TAGS = "message-tags echo-message server-time batch"


@pytest.fixture
def channel() -> str:
    """A channel of the test's own."""
    return f"#Garden{next(_names)}"


@asynccontextmanager
async def meeting(
    store: Redis, server: Server, channel: str, *, caps: str = "", operator: bool = True, **changes: Any
) -> AsyncIterator[tuple[Running, HermeticIrcClient]]:
    """The adapter and alice in one channel, which alice runs if she is to be ``operator``."""
    number = next(_names)
    alice = HermeticIrcClient(f"alice{number}")
    changes.setdefault("nick", f"relay{number}")
    changes.setdefault("channels", (channel,))
    try:
        async with running(store, server.port, **changes) as bot:
            await asyncio.gather(bot.online(), alice.connect(server.port, caps=caps))
            await alice.join(channel)
            if operator:
                us = bot.adapter._session.connection
                us.write(f"MODE {channel} +o {alice.nick}\r\nMODE {channel} -o {us.nick}\r\n")
                await alice.sees(f"-o {us.nick}", f"-o :{us.nick}")
            yield bot, alice
    finally:
        await alice.close()


async def test_people_are_heard(store: Redis, server: Server, channel: str) -> None:
    """What is said arrives as it was meant, with its author, and in order."""
    async with meeting(store, server, channel) as (bot, alice):
        alice.say(channel, "hello", "\x01ACTION waves\x01", "so \x02bold\x02", "grüße 🌍", "\x01VERSION\x01")
        alice.send(f"NOTICE {channel} :from a bot", f"PRIVMSG {channel} :bye")
        await bot.emit.message("bye")
        heard = bot.emit.of(MessageNew)
        assert [event.text.plain for event in heard] == ["hello", "waves", "so bold", "grüße 🌍", "from a bot", "bye"]
        assert [event.emote for event in heard] == [False, True, False, False, False, False]
        assert [event.bridged for event in heard] == [False, False, False, False, True, False]
        assert heard[2].text.entities == (Entity("bold", 3, 4),)
        assert {event.author.name for event in heard} == {alice.nick}
        assert {event.author.id for event in heard} == {heard[0].author.id}
        assert heard[0].author.id.startswith("user:")
        assert heard[0].author.id.endswith("@127.0.0.1")
        assert len({event.native for event in heard}) == len(heard)
        assert {event.room for event in heard} == {room(channel.lower())}


async def test_posts_are_confirmed(store: Redis, server: Server, channel: str) -> None:
    """Posts arrive in order and are confirmed; where the server gives ids, the receipt has them."""
    async with meeting(store, server, channel) as (bot, alice):
        where = channel.lower()
        posts = [post(where, f"line {i}") for i in range(50)]
        posts[7] = post(where, Text("a bold word", (Entity("bold", 2, 4),)))
        results = await bot.adapter.send_stream(posts)
        assert all(isinstance(result, Receipt) for result in results)
        await alice.sees("line 49")
        said = alice.said(channel)
        assert said[:7] + said[8:] == [f"line {i}" for i in range(50) if i != 7]
        assert said[7] == "a \x02bold\x02 word"
        modern = isinstance(server, InspIrcd) and server.modern
        assert len({native for result in results for native in result.natives}) == (50 if modern else 0)
        assert not bot.emit.texts()


async def test_many_rooms_share_a_line(store: Redis, server: Server) -> None:
    """One text for many rooms is one line where the server takes several targets, and arrives in each."""
    names = tuple(f"#many{next(_names)}" for _ in range(25))
    async with meeting(store, server, names[0], channels=names) as (bot, alice):
        await alice.join(*names)
        text, other = Text("to all of you"), Text("and another")
        posts = [post(name, text) for name in names] + [post(name, other) for name in names]
        written: list[str] = []
        connection = bot.adapter._session.connection
        write = connection.write
        connection.write = lambda lines: (written.append(lines), write(lines))[1]
        results = await bot.adapter.send_stream(posts)
        assert all(isinstance(result, Receipt) for result in results)
        lines = [line for line in "".join(written).split("\r\n") if line.startswith("PRIVMSG")]
        assert len(lines) == (50 if isinstance(server, NgIrcd) else 4)
        assert all(len(line.encode()) <= 510 for line in lines)
        for name in names:
            await alice.settled()
            assert alice.said(name) == ["to all of you", "and another"]


@TWO
async def test_long_text_is_split_so_that_nothing_is_cut(store: Redis, server: Server, channel: str) -> None:
    """Every line reaches others whole, at exactly the length that the server lets pass."""
    words = " ".join(f"wörd{i}" for i in range(200))
    async with meeting(store, server, channel) as (bot, alice):
        limit = bot.adapter.capabilities(room(channel.lower())).text_limit
        await bot.adapter.send(post(channel.lower(), words))
        await bot.adapter.send(post(channel.lower(), "x" * limit))
        await bot.adapter.send(post(channel.lower(), "first\n\nsecond\r\nthird"))
        await alice.sees(" :third")
        said = alice.said(channel)
        cut = said.index("x" * limit)
        assert " ".join(said[:cut]) == words
        assert said[cut + 1 :] == ["first", "second", "third"]


@TWO
async def test_a_name_does_not_ping_its_bearer(store: Redis, server: Server, channel: str) -> None:
    """A remote author with the nick of a member gets an invisible character; others stay as they are."""
    async with meeting(store, server, channel) as (bot, alice):
        nick = alice.nick
        await bot.adapter.send(post(channel.lower(), f"{nick.upper()} (Slack): hi", author=nick.upper()))
        await bot.adapter.send(post(channel.lower(), "Bob (Slack): hi", author="Bob"))
        await alice.sees("Bob (Slack)")
        assert alice.said(channel) == [f"A\u200b{nick.upper()[1:]} (Slack): hi", "Bob (Slack): hi"]


@TWO
async def test_operators_are_known_live(store: Redis, server: Server, channel: str) -> None:
    """Who runs the channel is known at every moment, also of people who have not said anything."""
    async with meeting(store, server, channel) as (bot, alice):
        alice.say(channel, "I run this")
        author = (await bot.emit.message("I run this")).author.id
        here = room(channel.lower())
        assert await bot.adapter.is_admin(here, author)
        alice.send(f"MODE {channel} -o {alice.nick}")
        alice.say(channel, "not any more")
        await bot.emit.message("not any more")
        assert not await bot.adapter.is_admin(here, author)
        bot.adapter._session.people.forget()
        assert not await bot.adapter.is_admin(here, author)
        assert not await bot.adapter.is_admin(here, "user:somebody@else")


@TWO
async def test_a_member_who_was_silent_is_looked_up(store: Redis, server: Server, channel: str) -> None:
    """An operator who has not spoken since the bot came is found by asking the server."""
    async with meeting(store, server, channel) as (bot, alice):
        user = f"user:{'~' if isinstance(server, NgIrcd) else ''}{alice.nick}@127.0.0.1"
        bot.adapter._session.people.forget()
        assert await bot.adapter.is_admin(room(channel.lower()), user)


@TWO
async def test_kicked_and_invited_back(store: Redis, server: Server, channel: str) -> None:
    """A kick is told, posts are refused in plain words, and an invitation brings the bot back."""
    async with meeting(store, server, channel, rejoin_after_kick_s=0.0) as (bot, alice):
        assert [(event.title, event.greet) for event in bot.emit.of(BotAdded)] == [(channel, True)]
        nick = bot.adapter._session.connection.nick
        alice.send(f"KICK {channel} {nick} :too loud")
        await bot.emit.until(lambda: bool(bot.emit.of(BotRemoved)))
        assert "too loud" in bot.emit.of(BotRemoved)[0].reason
        (result,) = await bot.adapter.send_stream([post(channel.lower(), "hello?")])
        assert isinstance(result, Rejected)
        assert f"/invite {nick} {channel}" in result.reason
        alice.send(f"INVITE {nick} {channel}")
        await bot.emit.until(lambda: len(bot.emit.of(BotAdded)) == 2)
        added = bot.emit.of(BotAdded)[1]
        assert added.greet
        assert added.by is not None
        assert added.by.name == alice.nick
        await bot.adapter.send(post(channel.lower(), "thanks"))


async def test_a_configured_channel_is_rejoined_once_after_a_kick(store: Redis, ngircd: NgIrcd, channel: str) -> None:
    """The bot comes back by itself, quietly and only once."""
    async with meeting(store, ngircd, channel, rejoin_after_kick_s=0.05) as (bot, alice):
        nick = bot.adapter._session.connection.nick
        alice.send(f"KICK {channel} {nick} :once")
        await bot.emit.until(lambda: len(bot.emit.of(BotAdded)) == 2)
        assert bot.emit.of(BotAdded)[1].greet is False
        alice.send(f"KICK {channel} {nick} :twice")
        await bot.emit.until(lambda: len(bot.emit.of(BotRemoved)) == 2)
        assert not bot.adapter._channels.find(channel).wanted


@TWO
async def test_invited_channels_are_remembered(store: Redis, server: Server, channel: str) -> None:
    """An invitation is followed and greeted once; after a restart the bot is there again, without a word."""
    number = next(_names)
    alice = await HermeticIrcClient(f"alice{number}").connect(server.port)
    await alice.join(channel)
    for life in range(2):
        async with running(store, server.port, nick=f"relay{number}", channels=()) as bot:
            await bot.online()
            if life == 0:
                alice.send(f"INVITE relay{number} {channel}")
                await bot.emit.until(lambda bot=bot: len(bot.emit.of(BotAdded)) == 1)
                assert bot.emit.of(BotAdded)[0].by.name == alice.nick
            await bot.adapter.send(post(channel.lower(), f"life {life}"))
            assert len(bot.emit.of(BotAdded)) == 1 - life
            assert [info.title for info in await bot.adapter.rooms()] == [channel]
    await alice.sees("life 1")
    await alice.close()


@TWO
async def test_banned(store: Redis, server: Server, channel: str) -> None:
    """A ban that keeps the bot out, or silences it, is explained to whoever posts."""
    async with meeting(store, server, channel, rejoin_after_kick_s=0.05) as (bot, alice):
        nick = bot.adapter._session.connection.nick
        alice.send(f"MODE {channel} +m")
        await alice.sees("+m")
        results = await bot.adapter.send_stream([post(channel.lower(), "a"), post(channel.lower(), "b")])
        assert all(isinstance(result, Rejected) and f"+v {nick}" in result.reason for result in results)
        alice.send(f"MODE {channel} +b *!*@*", f"KICK {channel} {nick} :out")
        await alice.sees("KICK")
        await bot.emit.until(lambda: bool(bot.emit.of(BotRemoved)))
        problem = bot.adapter._channels.find(channel)
        await alice.settled()
        while "banned" not in str(problem.problem):
            await bot.adapter.ping(room(channel.lower()))
        with pytest.raises(Rejected, match=f"/mode {channel} -b"):
            await bot.adapter.send(post(channel.lower(), "c"))


async def test_one_bad_channel_does_not_spoil_the_batch(store: Redis, server: Server) -> None:
    """In one line for several channels, only the post for the closed channel is refused."""
    names = tuple(f"#mix{next(_names)}" for _ in range(3))
    async with meeting(store, server, names[0], channels=names) as (bot, _):
        quiet = await HermeticIrcClient(f"q{next(_names)}").connect(server.port)
        fresh = f"#mix{next(_names)}"
        await quiet.join(fresh)
        quiet.send(f"INVITE {bot.adapter._session.connection.nick} {fresh}")
        await bot.emit.until(lambda: any(event.title == fresh for event in bot.emit.of(BotAdded)))
        quiet.send(f"MODE {fresh} +m")
        await quiet.settled()
        text = Text("one for all")
        places = [names[1], fresh, names[2]]
        results = await bot.adapter.send_stream([post(name, text) for name in places])
        assert [type(result) for result in results] == [Receipt, Rejected, Receipt]
        await quiet.close()


@TWO
async def test_a_nick_that_is_taken(store: Redis, server: Server, channel: str) -> None:
    """The bot takes another nick, and its own as soon as that is free."""
    number = next(_names)
    squatter = await HermeticIrcClient(f"relay{number}").connect(server.port)
    await squatter.join(channel)
    async with meeting(store, server, channel, operator=False, nick=f"relay{number}") as (bot, alice):
        assert bot.adapter._session.connection.nick == f"relay{number}_"
        squatter.send("QUIT")
        await alice.sees(f"NICK :relay{number}", f"NICK relay{number}")
        await bot.adapter.send(post(channel.lower(), "mine again"))
        assert bot.adapter._session.connection.source.startswith(f"relay{number}!")
        assert [left.author.name for left in bot.emit.of(Left)] == [f"relay{number}"]
        assert not bot.emit.texts()
    await squatter.close()


@TWO
async def test_bytes_that_are_not_utf8(store: Redis, server: Server, channel: str) -> None:
    """Old encodings are read, and what follows is not harmed."""
    async with meeting(store, server, channel) as (bot, alice):
        start = f"PRIVMSG {channel} :".encode()
        alice.send_bytes(start + b"caf\xe9\r\n" + start + "né\r\n".encode() + start + b"\xff\xfe\x81 end\r\n")
        await bot.emit.until(lambda: len(bot.emit.texts()) == 3)
        assert bot.emit.texts()[:2] == ["café", "né"]
        assert bot.emit.texts()[2].endswith(" end")


@pytest.mark.parametrize("kind", ["ngircd", "inspircd"])
async def test_a_server_that_restarts(store: Redis, tmp_path: Path, kind: str) -> None:
    """Within three seconds of its return the bot is back and posts; what was under way is told honestly."""
    server: Server = NgIrcd(tmp_path) if kind == "ngircd" else InspIrcd(tmp_path)
    with server:
        async with running(store, server.port) as bot:
            await bot.online()
            await bot.adapter.send(post("#garden", "before"))
            server.kill()
            results = await bot.adapter.send_stream([post("#garden", "into the void")])
            assert isinstance(results[0], (Offline, Uncertain))
            await bot.emit.until(lambda: bool(bot.emit.reasons))
            with pytest.raises(Offline):
                await bot.adapter.send(post("#garden", "nobody there"))
            with pytest.raises(Offline):
                await bot.adapter.ping(room("#garden"))
            await bot.emit.until(lambda: len(bot.emit.reasons) >= 3)
            server.start()
            await bot.online(timeout_s=3.0)
            await bot.adapter.send(post("#garden", "after"))
            assert len(bot.emit.of(BotAdded)) == 1


async def test_a_batch_cut_by_a_crash(store: Redis, tmp_path: Path) -> None:
    """Each post of a batch that the server's death interrupts is confirmed, uncertain or not sent; none is lost."""
    with InspIrcd(tmp_path) as server:
        async with running(store, server.port) as bot:
            await bot.online()
            sending = asyncio.create_task(
                bot.adapter.send_stream([post("#garden", f"{i} " + "x" * 300) for i in range(5000)])
            )
            await bot.emit.until(lambda: True)
            await asyncio.sleep(0)
            server.kill()
            results = await asyncio.wait_for(sending, 10)
            assert len(results) == 5000
            assert all(isinstance(result, (Receipt, Uncertain, Offline)) for result in results)
            kinds = [type(result) for result in results]
            assert kinds == sorted(kinds, key=[Receipt, Uncertain, Offline].index)


async def test_encrypted_and_verified(store: Redis, inspircd: InspIrcd, channel: str) -> None:
    """TLS works with the right authority, and a certificate that nobody vouches for is refused."""
    async with running(
        store,
        inspircd.tls_port,
        tls=True,
        tls_ca_file=str(inspircd.ca_file),
        channels=(channel,),
        nick=f"t{next(_names)}",
    ) as bot:
        await bot.online()
        await bot.adapter.send(post(channel.lower(), "in private"))
    async with running(store, inspircd.tls_port, tls=True) as bot:
        await bot.emit.until(lambda: bool(bot.emit.reasons))
        assert "certificate" in bot.emit.reasons[0].lower()
    (answers, *_) = await findings(config(inspircd.tls_port, tls=True))
    assert not answers.ok
    assert "tls_ca_file" in answers.mend
    assert (await findings(config(inspircd.tls_port, tls=True, tls_ca_file=str(inspircd.ca_file))))[0].ok


async def test_replies_reactions_and_typing(store: Redis, inspircd: InspIrcd, channel: str) -> None:
    """On a server with message tags, replies, reactions and typing go both ways."""
    async with meeting(store, inspircd, channel, caps=TAGS) as (bot, alice):
        here = room(channel.lower())
        caps = bot.adapter.capabilities(here)
        assert (caps.reply, caps.reaction, caps.typing, caps.delete) == ("full", "full", "full", "fallback")
        assert bot.adapter.capabilities(here) is caps
        (native,) = (await bot.adapter.send(post(channel.lower(), "what do you think?"))).natives
        alice.send(f"@+draft/reply={native} PRIVMSG {channel} :good", f"@+typing=active TAGMSG {channel}")
        alice.send(f"@+draft/reply={native};+draft/react=👍 TAGMSG {channel}")
        alice.send(f"@+draft/reply={native};+draft/unreact=👍 TAGMSG {channel}")
        answer = await bot.emit.message("good")
        assert answer.reply_to is not None
        assert answer.reply_to.native == native
        await bot.emit.until(lambda: len(bot.emit.of(Reaction)) == 2)
        assert [(r.target, r.emoji, r.added) for r in bot.emit.of(Reaction)] == [
            (native, "👍", True),
            (native, "👍", False),
        ]
        assert [typing.author.name for typing in bot.emit.of(Typing)] == [alice.nick]

        await bot.adapter.send(post(channel.lower(), "indeed", reply_to=answer.native))
        assert f"+draft/reply={answer.native}" in await alice.sees(" :indeed")
        await bot.adapter.react(here, answer.native, "🎉", True, answer.author)
        assert f"+draft/reply={answer.native}" in await alice.sees("+draft/react=🎉")
        for _ in range(5):
            await bot.adapter.typing(here, answer.author)
        await bot.adapter.send(post(channel.lower(), "done"))
        await alice.sees(" :done")
        assert len([line for line in alice.lines if "+typing=active" in line and bot.adapter._config.nick in line]) == 1


async def test_the_bot_says_that_it_is_one(store: Redis, inspircd: InspIrcd, channel: str) -> None:
    """Where the server has a bot mode it is set, and other bots are marked as such."""
    async with meeting(store, inspircd, channel) as (bot, alice):
        alice.send(f"WHOIS {bot.adapter._session.connection.nick}")
        await alice.sees(" 335 ")
        alice.send(f"MODE {alice.nick} +B")
        alice.say(channel, "beep")
        heard = await bot.emit.message("beep")
        assert heard.bridged
        assert heard.author.is_bot


async def test_a_plain_server_is_said_to_be_plain(store: Redis, ngircd: NgIrcd, channel: str) -> None:
    """Without tags everything has its readable substitute, and typing is dropped."""
    async with meeting(store, ngircd, channel) as (bot, _):
        here = room(channel.lower())
        caps = bot.adapter.capabilities(here)
        assert (caps.reply, caps.reaction, caps.typing, caps.delete, caps.names) == (
            "fallback",
            "fallback",
            "drop",
            "fallback",
            "fallback",
        )
        with pytest.raises(Rejected):
            await bot.adapter.delete(here, ["x"])
        assert bot.adapter.room_info(here).detail == "PlainNet"
        assert "/invite" in bot.adapter.invite("ABC-123").steps[0]


async def test_flood_control_paces(store: Redis, ngircd: NgIrcd, channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines beyond the burst wait for their turn, and what would wait too long comes back, in order."""
    monkeypatch.setattr("bots.irc.send.PACE_WITHIN_S", 1.0)
    async with meeting(store, ngircd, channel, rate_lines_per_s=20.0, burst_lines=3) as (bot, alice):
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        results = await bot.adapter.send_stream([post(channel.lower(), f"{i}") for i in range(10)])
        assert all(isinstance(result, Receipt) for result in results)
        assert loop.time() - started_s > 0.25
        results = await bot.adapter.send_stream([post(channel.lower(), f"{i}") for i in range(1000)])
        sent = [isinstance(result, Receipt) for result in results]
        assert sent == sorted(sent, reverse=True)
        assert 10 < sum(sent) < 40
        assert all(isinstance(result, Retry) for result in results[sum(sent) :])
        await alice.settled()
        assert alice.said(channel) == [str(i) for i in range(10)] + [str(i) for i in range(sum(sent))]
