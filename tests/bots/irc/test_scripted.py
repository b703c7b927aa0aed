"""The adapter on a scripted server: hostile input, and what no server at hand offers.

SASL, RELAYMSG, REDACT and the rest are played by our own double, made from the IRCv3 specifications.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots.irc.intake import HOLD_AT
from bots.irc.sasl import SaslError, Scram, chunks
from bots.irc.wire import parse
from core.contract import AuthLost, Offline, Receipt, Rejected, Retry, Uncertain
from core.model import BotAdded, BotRemoved, Joined, Left, MessageDeleted, MessageNew, Reaction
from core.store import Redis
from tests.bots.irc.support import ScriptedServer, post, room, running

GARDEN = room("#garden")
MODERN = "message-tags echo-message batch server-time draft/message-redaction draft/relaymsg=/"


def echoing(server: ScriptedServer) -> None:
    """Make a server echo PRIVMSG and RELAYMSG with ids, as draft/relaymsg and echo-message say."""
    ids = iter(range(10_000))

    def answer(raw: str) -> str | None:
        line = parse(raw)
        if line is not None and line.command == "PRIVMSG":
            return "\n".join(
                f"@msgid=id{next(ids)} :{server.nick}!bot@host PRIVMSG {name} :{line.params[1]}"
                for name in line.params[0].split(",")
            )
        if line is not None and line.command == "RELAYMSG":
            channel, nick, text = line.params
            return f"@msgid=id{next(ids)};draft/relaymsg={server.nick} :{nick}!relay@host PRIVMSG {channel} :{text}"
        return None

    server.answer = answer


async def test_rubbish_harms_nothing(store: Redis) -> None:
    """Malformed, huge, binary and half lines are counted and passed over; what is good still arrives."""
    async with ScriptedServer() as server, running(store, server.port) as bot:
        await bot.online()
        for rubbish in (
            b"\r\n\r\n\n\n:\r\n@\r\n: \r\n@x\r\n\0\0\0\r\n",
            b":a!b@c PRIVMSG\r\n:a!b@c PRIVMSG #garden\r\n:a!b@c JOIN\r\nMODE #garden\r\n:a!b@c KICK #garden\r\n",
            b":s 353 relay =\r\n:s 353\r\n:s 005\r\nBATCH\r\nBATCH +x\r\nCAP\r\nCAP * LS\r\nINVITE\r\nNICK\r\n",
            b"@time=yesterday;msgid= :a!b@c PRIVMSG #garden :odd time\r\n",
            b":a!b@c MODE #garden +ovklbI-ovk x\r\n:a!b@c MODE #garden +\r\n:s 005 relay PREFIX=(o CHANMODES= x\r\n",
            b":a!b@c PRIVMSG #garden :" + b"\xff" * 3000 + b"\r\n",
            b"x" * 200_000 + b"\r\n",
            b"@" + b"a=b;" * 20_000 + b" :a!b@c PRIVMSG #garden :tagged\r\n",
        ):
            server.send_bytes(rubbish)
        server.send(":a!b@c PRIVMSG #garden :still here")
        await bot.emit.message("still here")
        assert "odd time" in bot.emit.texts()
        assert bot.adapter._session.connection.malformed > 10
        server.send_bytes(b":a!b@c PRIVMSG #garden :in ")
        server.send_bytes(b"pieces\r")
        server.send_bytes(b"\n")
        await bot.emit.message("in pieces")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(max_size=80), st.text(max_size=20)), min_size=1, max_size=5))
async def test_only_the_intended_verb_is_sent(store: Redis, said: list[tuple[str, str]]) -> None:
    """Whatever text, name or id comes from elsewhere, the server sees only messages to our channel (threat 11)."""
    async with ScriptedServer(caps=MODERN) as server, running(store, server.port) as bot:
        echoing(server)
        await bot.online()
        before = len(server.lines)
        for text, name in said:
            await bot.adapter.send_stream([post("#garden", text, author=name, reply_to=name or None)])
            await bot.adapter.send_stream([post("#garden", text)])
        await bot.adapter.ping(GARDEN)
        for raw in server.lines[before:]:
            line = parse(raw)
            assert line is not None
            assert line.command in ("PRIVMSG", "RELAYMSG", "PING")
            assert line.command == "PING" or line.params[0] == "#garden"
            assert "\x01" not in "".join(line.params)
            assert "\0" not in raw


async def test_our_own_words_do_not_come_back(store: Redis) -> None:
    """Our echoes, also under another host or as RELAYMSG, are no messages; other relays' are marked."""
    async with ScriptedServer(caps=MODERN) as server, running(store, server.port) as bot:
        await bot.online()
        server.send(
            ":relay!bot@host PRIVMSG #garden :mine",
            ":RELAY!other@elsewhere PRIVMSG #garden :mine too",
            "@draft/relaymsg=relay :bob/r!x@y PRIVMSG #garden :relayed by us",
            "@draft/relaymsg=bridge :bob/x!x@y PRIVMSG #garden :relayed by another",
            "@+draft/reply=1;+draft/react=x :relay!bot@host TAGMSG #garden",
            ":relay!bot@host REDACT #garden 1",
            ":alice!a@b PRIVMSG @#garden :for operators only",
            ":alice!a@b PRIVMSG #elsewhere :not our channel",
            ":s NOTICE #garden :from the server",
            ":alice!a@b PRIVMSG #garden :end",
        )
        await bot.emit.message("end")
        assert bot.emit.texts() == ["relayed by another", "end"]
        assert bot.emit.of(MessageNew)[0].bridged
        assert not bot.emit.of(Reaction)
        assert not bot.emit.of(MessageDeleted)


async def test_people_are_known_by_account(store: Redis) -> None:
    """The account is the id where the server names it; a change of nick changes neither it nor the mask."""
    async with ScriptedServer(caps="message-tags account-tag") as server, running(store, server.port) as bot:
        await bot.online()
        server.send(
            "@account=Alice;msgid=1 :alice!a@b PRIVMSG #garden :one",
            ":alice!a@b NICK wonder",
            "@account=Alice;msgid=2 :wonder!a@b PRIVMSG #garden :two",
            ":bob!u@Host PRIVMSG #garden :three",
            ":bob!u@Host NICK rob",
            ":rob!u@Host PRIVMSG #garden :four",
        )
        await bot.emit.message("four")
        authors = [(event.author.id, event.author.name) for event in bot.emit.of(MessageNew)]
        assert authors == [
            ("account:alice", "alice"),
            ("account:alice", "wonder"),
            ("user:u@host", "bob"),
            ("user:u@host", "rob"),
        ]
        assert [event.native for event in bot.emit.of(MessageNew)][:2] == ["1", "2"]


async def test_rights_end_with_the_person(store: Redis) -> None:
    """Somebody who takes over an operator's nick, or shares its host, is no operator (threat 19)."""
    async with ScriptedServer() as server, running(store, server.port) as bot:
        await bot.online()
        server.send(":boss!b@h PRIVMSG #garden :I am the boss")
        boss = (await bot.emit.message("I am the boss")).author.id
        assert await bot.adapter.is_admin(GARDEN, boss)
        server.send(":clone!b@h JOIN #garden", ":clone!b@h PRIVMSG #garden :me too")
        await bot.emit.message("me too")
        assert not await bot.adapter.is_admin(GARDEN, boss)
        server.send(":clone!b@h PART #garden", ":boss!b@h QUIT :bye", ":boss!evil@x JOIN #garden")
        server.send(":s MODE #garden +o boss", ":boss!evil@x PRIVMSG #garden :now me")
        await bot.emit.message("now me")
        assert not await bot.adapter.is_admin(GARDEN, boss)


async def test_the_time_is_the_servers(store: Redis) -> None:
    """server-time says when something was said."""
    async with ScriptedServer(caps="server-time message-tags") as server, running(store, server.port) as bot:
        await bot.online()
        for time in ("2026-11-21T05:18:50.853Z", "2026-11-21T05:18:50.900Z", "2026-11-21T05:18:51.001Z"):
            server.send(f"@time={time} :a!b@c PRIVMSG #garden :{time}")
        await bot.emit.message("2026-11-21T05:18:51.001Z")
        assert [event.at_ms % 100_000 for event in bot.emit.of(MessageNew)] == [30_853, 30_900, 31_001]
        assert not bot.adapter._session.connection.features.message_ids


async def test_old_messages_and_netsplits_are_not_news(store: Redis) -> None:
    """History that the server plays back and the noise of a netsplit are not relayed."""
    async with ScriptedServer(caps="batch message-tags") as server, running(store, server.port) as bot:
        await bot.online()
        server.send(
            ":s BATCH +1 chathistory #garden",
            "@batch=1;msgid=9 :a!b@c PRIVMSG #garden :long ago",
            ":s BATCH -1",
            ":alice!a@b QUIT :hub.example.net leaf.example.net",
            ":alice!a@b JOIN #garden",
            ":bob!a@b JOIN #garden",
            ":bob!a@b QUIT :good night",
            "@msgid=10 :a!b@c PRIVMSG #garden :today",
        )
        await bot.emit.message("today")
        assert bot.emit.texts() == ["today"]
        assert [event.author.name for event in bot.emit.of(Joined)] == ["bob"]
        assert [event.author.name for event in bot.emit.of(Left)] == ["bob"]


async def test_redaction(store: Redis) -> None:
    """REDACT deletes both ways; a post that is gone is no error, one that must stay is explained."""
    async with ScriptedServer(caps=MODERN) as server, running(store, server.port) as bot:
        await bot.online()
        assert bot.adapter.capabilities(GARDEN).delete == "full"
        server.send("@msgid=2 :alice!a@b REDACT #garden 1 :oops")
        await bot.emit.until(lambda: bool(bot.emit.of(MessageDeleted)))
        assert bot.emit.of(MessageDeleted)[0].target == "1"
        await bot.adapter.delete(GARDEN, ["x1", "x2"])
        assert [line for line in server.lines if "REDACT" in line] == ["REDACT #garden x1", "REDACT #garden x2"]
        server.answer = lambda line: "FAIL REDACT UNKNOWN_MSGID #garden y :gone" if "REDACT" in line else None
        await bot.adapter.delete(GARDEN, ["y"])
        server.answer = lambda line: "FAIL REDACT REDACT_FORBIDDEN #garden y :not yours" if "REDACT" in line else None
        with pytest.raises(Rejected, match="not yours"):
            await bot.adapter.delete(GARDEN, ["y"])


async def test_posts_under_the_authors_name(store: Redis) -> None:
    """Where RELAYMSG is offered the author's name is the nick, cleaned, and ids come back."""
    async with ScriptedServer(caps=MODERN) as server, running(store, server.port) as bot:
        echoing(server)
        await bot.online()
        assert bot.adapter.capabilities(GARDEN).names == "full"
        receipt = await bot.adapter.send(post("#garden", "hello", author="Ann Lee/1!"))
        assert receipt.natives == ("id0",)
        assert await bot.adapter.send(post("#garden", "I am the bot")) == Receipt(("id1",))
        assert await server.got("RELAYMSG") == "RELAYMSG #garden Ann_Lee1/r hello"
        await server.got("PRIVMSG #garden :I am the bot")


async def test_refused_relaymsg_becomes_plain_words(store: Redis) -> None:
    """A channel that refuses RELAYMSG gets the name in the text, now and from then on."""
    async with ScriptedServer(caps=MODERN) as server, running(store, server.port) as bot:
        echoing(server)
        echo = server.answer
        server.answer = lambda line: (
            "FAIL RELAYMSG PRIVS_NEEDED :Only operators may" if line.startswith("RELAYMSG") else echo(line)
        )
        await bot.online()
        posts = [post("#garden", "one", author="Ann"), post("#garden", "two", author="Bob")]
        results = await bot.adapter.send_stream(posts)
        assert results == [Receipt(("id0",)), Receipt(("id1",))]
        assert [line for line in server.lines if "PRIVMSG" in line] == [
            "PRIVMSG #garden :Ann: one",
            "PRIVMSG #garden :Bob: two",
        ]
        assert bot.adapter.capabilities(GARDEN).names == "fallback"


async def test_a_swallowed_message_is_noticed(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where echoes are promised, a line that is not echoed is refused, and those around it are not mixed up."""
    monkeypatch.setattr("bots.irc.send.ECHO_GRACE_S", 0.05)
    async with ScriptedServer(caps=MODERN) as server, running(store, server.port) as bot:
        echoing(server)
        echo = server.answer
        server.answer = lambda line: "" if "spam" in line else echo(line)
        await bot.online()
        results = await bot.adapter.send_stream([post("#garden", text) for text in ("a", "spam", "b")])
        assert results[0] == Receipt(("id0",))
        assert isinstance(results[1], Rejected)
        assert results[2] == Receipt(("id1",))


async def test_errors_find_their_post(store: Redis) -> None:
    """On a plain server refusals belong to the last posts of their channel; all others are taken."""
    async with ScriptedServer() as server, running(store, server.port, channels=("#garden", "#b")) as bot:
        await bot.online()
        server.answer = lambda line: ":s 404 relay #garden :Moderated" if line.endswith((" 3", " 4")) else None
        results = await bot.adapter.send_stream(
            [post("#garden", f"word {i}") if i % 2 == 0 or i == 3 else post("#b", f"word {i}") for i in range(5)]
        )
        assert [type(result) for result in results] == [Receipt, Receipt, Receipt, Rejected, Rejected]
        assert "+v relay" in str(results[4])


async def test_not_in_the_channel_any_more(store: Redis) -> None:
    """When the server says that we are not there, we join again and the post is tried again."""
    async with ScriptedServer() as server, running(store, server.port) as bot:
        await bot.online()
        server.lines.clear()
        server.answer = lambda line: ":s 442 relay #garden :Not there" if "PRIVMSG" in line else None
        (result,) = await bot.adapter.send_stream([post("#garden", "hello?")])
        assert isinstance(result, Retry)
        server.answer = lambda line: None
        await server.got("JOIN #garden")
        await bot.adapter.ping(GARDEN)
        assert await bot.adapter.send(post("#garden", "hello!")) == Receipt()
        assert len(bot.emit.of(BotAdded)) == 1
        assert not bot.emit.of(BotRemoved)


@pytest.mark.parametrize(
    ("numeric", "hint"),
    [("473", "/invite relay #garden"), ("474", "banned"), ("475", "key"), ("477", "sasl_user"), ("405", "as many")],
)
async def test_a_channel_that_does_not_let_us_in(store: Redis, numeric: str, hint: str) -> None:
    """The reason is told in plain words with what to do; the account works for its other channels."""
    async with ScriptedServer() as server:
        server.answer = lambda line: f":s {numeric} relay #garden :No" if line.startswith("JOIN #garden") else None
        async with running(store, server.port, channels=("#garden k",)) as bot:
            await bot.online()
            assert "JOIN #garden k" in server.lines
            with pytest.raises(Rejected, match=hint):
                await bot.adapter.send(post("#garden", "hello"))


async def test_a_cut_connection(store: Redis) -> None:
    """Posts without a confirmation are uncertain, and the bot is back at once."""
    async with ScriptedServer() as server, running(store, server.port) as bot:
        await bot.online()
        server.answer = lambda line: "" if line.startswith("PING") else None
        sending = asyncio.create_task(bot.adapter.send_stream([post("#garden", "a"), post("#garden", "b")]))
        await server.got("PRIVMSG #garden :b")
        await server.got("PING")
        server.answer = lambda line: None
        server.cut()
        assert [type(result) for result in await sending] == [Uncertain, Uncertain]
        await bot.emit.until(lambda: len(bot.emit.reasons) == 1)
        await bot.online()
        assert await bot.adapter.send(post("#garden", "c")) == Receipt()
        assert server.connections == 2


async def test_no_confirmation_in_time(store: Redis) -> None:
    """A server that takes everything and confirms nothing leaves the post uncertain; the next one is not mixed up."""
    async with ScriptedServer() as server, running(store, server.port, confirm_timeout_s=0.2) as bot:
        await bot.online()
        bot.adapter._session.sender._progress_at_s = -1e9
        server.answer = lambda line: "" if line.startswith("PING") else None
        (result,) = await bot.adapter.send_stream([post("#garden", "a")])
        assert isinstance(result, Uncertain)
        server.answer = lambda line: None
        assert await bot.adapter.send(post("#garden", "b")) == Receipt()


async def test_a_stalled_relay_does_not_lose_the_connection(store: Redis) -> None:
    """While nothing becomes durable, pings are answered and posts confirmed; a flood stops the reading."""
    async with ScriptedServer() as server, running(store, server.port) as bot:
        await bot.online()
        bot.emit.open.clear()
        server.send(*(f":a!b@c PRIVMSG #garden :{i}" for i in range(HOLD_AT // 2)), "PING :alive?")
        await server.got("PONG alive?")
        assert await bot.adapter.send(post("#garden", "still talking")) == Receipt()
        server.send(*(f":a!b@c PRIVMSG #garden :{i}" for i in range(HOLD_AT // 2, HOLD_AT * 2)))
        connection = bot.adapter._session.connection
        await bot.emit.until(lambda: connection.held)
        bot.emit.shut = True
        bot.emit.open.set()
        await asyncio.sleep(0)
        assert connection.held
        bot.emit.shut = False
        await bot.emit.until(lambda: len(bot.emit.texts()) == HOLD_AT * 2)
        assert bot.emit.texts() == [str(i) for i in range(HOLD_AT * 2)]
        assert bot.emit.reasons == []


async def test_a_held_connection_still_answers_pings(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on now and then while the store is away, so the server does not give up on us."""
    monkeypatch.setattr("bots.irc.connection.PEEK_AFTER_S", 0.05)
    async with ScriptedServer() as server, running(store, server.port) as bot:
        await bot.online()
        bot.adapter._session.connection.hold()
        server.send("PING :anybody?")
        await server.got("PONG anybody?")
        assert bot.adapter._session.connection.held


async def test_nicks_run_out(store: Redis) -> None:
    """A nick that is taken again and again is varied until one is free."""
    async with ScriptedServer() as server:
        taken = iter(range(4))

        def answer(line: str) -> str | None:
            if line == "CAP END":
                return ""
            if line.startswith("NICK"):
                server.nick = line.split(" ")[1]
                return server.greeting() if next(taken, None) is None else f":s 433 * {server.nick} :In use"
            return None

        server.answer = answer
        async with running(store, server.port) as bot:
            await bot.online()
            nicks = [line[5:] for line in server.lines if line.startswith("NICK")]
            assert nicks[:2] == ["relay", "relay_"]
            assert len(set(nicks)) == 5
            assert all(nick.startswith("relay") for nick in nicks)


async def test_old_servers_without_capabilities(store: Redis) -> None:
    """A server that knows no CAP gets an ordinary client."""
    async with ScriptedServer() as server:

        def answer(line: str) -> str | None:
            if line.startswith("CAP"):
                return ":s 421 * CAP :Unknown command"
            return server.greeting() if line.startswith("USER") else None

        server.answer = answer
        async with running(store, server.port, password="pass word", nickserv_password="secret") as bot:
            await bot.online()
            assert await bot.adapter.send(post("#garden", "hello")) == Receipt()
            assert "PASS :pass word" in server.lines
            assert "PRIVMSG NickServ :IDENTIFY secret" in server.lines


async def test_a_refused_capability_does_not_spoil_the_others(store: Redis) -> None:
    """After a NAK each capability is asked for by itself."""
    async with ScriptedServer(caps="message-tags batch") as server:
        server.answer = lambda line: (
            f":s CAP * NAK :{line[9:].lstrip(':')}" if line.startswith("CAP REQ") and "batch" in line else None
        )
        async with running(store, server.port) as bot:
            await bot.online()
            assert set(bot.adapter._session.connection.features.caps) == {"message-tags"}


# --- signing in ---


def signing_in(server: ScriptedServer, *, accept: bool, mechanism: str = "PLAIN") -> list[bytes]:
    """Play the server's part of SASL (IRCv3 sasl-3.2, RFC 5802); the client's messages come out."""
    heard: list[bytes] = []
    pending = [""]
    scram = {}
    salt, nonce = b"a salt", "servernonce"

    def verdict() -> str:
        return ":s 903 relay :Logged in" if accept else ":s 904 relay :Wrong password"

    def challenge(message: bytes) -> str:
        if mechanism != "SCRAM-SHA-256":
            return verdict()
        text = message.decode()
        if len(heard) == 1:
            scram["bare"] = text[3:]
            scram["first"] = f"r={text.rpartition('r=')[2]}{nonce},s={base64.b64encode(salt).decode()},i=4096"
            return "AUTHENTICATE " + base64.b64encode(scram["first"].encode()).decode()
        if len(heard) == 2:
            salted = hashlib.pbkdf2_hmac("sha256", b"secret" if accept else b"other", salt, 4096)
            bare_proof, _, proof = text.rpartition(",p=")
            signed = f"{scram['bare']},{scram['first']},{bare_proof}".encode()
            key = hmac.digest(salted, b"Client Key", "sha256")
            signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
            recovered = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
            if recovered != key:
                return ":s 904 relay :Wrong password"
            server_key = hmac.digest(salted, b"Server Key", "sha256")
            final = b"v=" + base64.b64encode(hmac.digest(server_key, signed, "sha256"))
            return "AUTHENTICATE " + base64.b64encode(final).decode()
        return verdict()

    def answer(line: str) -> str | None:
        if not line.startswith("AUTHENTICATE "):
            return None
        word = line[13:]
        if word == mechanism:
            heard.clear()
            return "AUTHENTICATE +"
        if word != "+":
            pending[0] += word
        if len(word) == 400:
            return ""
        heard.append(base64.b64decode(pending[0]))
        pending[0] = ""
        return challenge(heard[-1])

    server.answer = answer
    return heard


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
async def test_signing_in(store: Redis, mechanism: str) -> None:
    """The account signs in before it is greeted, and its password is not sent in SCRAM."""
    async with ScriptedServer(caps="sasl message-tags") as server:
        heard = signing_in(server, accept=True, mechanism=mechanism)
        async with running(store, server.port, sasl=mechanism, sasl_user="bot", sasl_password="secret") as bot:
            await bot.online()
            if mechanism == "PLAIN":
                assert heard == [b"\0bot\0secret"]
            else:
                assert not any(b"secret" in message for message in heard)
                assert heard[0].startswith(b"n,,n=bot,r=")
            assert server.lines.index("CAP END") > server.lines.index(f"AUTHENTICATE {mechanism}")


async def test_a_long_password_is_sent_in_pieces(store: Redis) -> None:
    """More than 400 characters of base64 go in several lines, with an empty one after a full last piece."""
    async with ScriptedServer(caps="sasl") as server:
        heard = signing_in(server, accept=True)
        password = "p" * (600 - 5)
        async with running(store, server.port, sasl_user="bot", sasl_password=password) as bot:
            await bot.online()
            assert heard == [f"\0bot\0{password}".encode()]
    assert [len(part) for part in chunks(b"x" * 600)] == [400, 400, 1]
    assert chunks(b"") == ["+"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
async def test_a_wrong_password(store: Redis, mechanism: str) -> None:
    """The operator is told, and posts wait with AuthLost."""
    async with ScriptedServer(caps="sasl") as server:
        signing_in(server, accept=False, mechanism=mechanism)
        async with running(store, server.port, sasl=mechanism, sasl_user="bot", sasl_password="secret") as bot:
            await bot.emit.until(lambda: bool(bot.emit.reasons))
            assert "Wrong password" in bot.emit.reasons[0]
            with pytest.raises(AuthLost, match="sasl_password"):
                await bot.adapter.send(post("#garden", "hello"))
            assert not any(line.startswith("JOIN") for line in server.lines)


async def test_no_sasl_on_offer(store: Redis) -> None:
    """While the network's services are away the account waits rather than going in without its name."""
    async with (
        ScriptedServer(caps="message-tags") as server,
        running(store, server.port, sasl_user="bot", sasl_password="x") as bot,
    ):
        await bot.emit.until(lambda: bool(bot.emit.reasons))
        assert "no SASL" in bot.emit.reasons[0]
        with pytest.raises(Offline):
            await bot.adapter.send(post("#garden", "hello"))


def test_scram_as_in_the_rfc() -> None:
    """The example of RFC 7677 section 3, and servers that cannot be trusted."""
    login = Scram("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    assert login.answer(b"") == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert login.answer(first) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not login.proven
    assert login.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    assert login.proven
    for challenge in (
        b"",
        b"r=other,s=YQ==,i=1",
        b"r=n,s=YQ==,i=1",
        b"r=nx,s=YQ==,i=99999999",
        b"r=nx,s=!,i=1",
        b"\xff",
    ):
        login = Scram("user", "pencil", "n")
        login.answer(b"")
        with pytest.raises(SaslError):
            login.answer(challenge)
    login = Scram("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    login.answer(b"")
    login.answer(first)
    with pytest.raises(SaslError):
        login.answer(b"v=AAAA")


async def test_a_private_word_is_answered_once(store: Redis) -> None:
    """Who talks to the bot alone learns by NOTICE where it listens, once; a bot's NOTICE gets no answer."""
    async with ScriptedServer() as server, running(store, server.port) as bot:
        await bot.online()
        server.send(
            ":carl!a@b NOTICE relay :I am a bot",
            ":alice!a@b PRIVMSG relay :hello?",
            ":alice!a@b PRIVMSG relay :hello??",
            ":alice!a@b PRIVMSG relay :\x01VERSION\x01",
        )
        assert "/invite relay" in await server.got("NOTICE alice")
        await bot.adapter.ping(GARDEN)
        assert len([line for line in server.lines if line.startswith("NOTICE")]) == 1
        assert not bot.emit.of(MessageNew)


async def test_where_we_do_not_want_to_be(store: Redis) -> None:
    """A channel that the server puts us into by itself is left again, and one with an evil name is not joined."""
    async with ScriptedServer() as server, running(store, server.port) as bot:
        await bot.online()
        server.send(":relay!bot@host JOIN #overflow", ":a!b@c INVITE relay :#a,#b", ":a!b@c INVITE relay nochannel")
        await server.got("PART #overflow")
        await bot.adapter.ping(GARDEN)
        assert [line for line in server.lines if line.startswith("JOIN")] == ["JOIN #garden"]
        assert [info.title for info in await bot.adapter.rooms()] == ["#garden"]


async def test_a_configured_channel_is_greeted_once(store: Redis) -> None:
    """The first time ever the bot says hello; after a restart it does not."""
    async with ScriptedServer() as server:
        for life in range(2):
            async with running(store, server.port) as bot:
                await bot.online()
                assert [event.title for event in bot.emit.of(BotAdded)] == ["#garden"][life:]


async def test_a_host_that_is_no_host(store: Redis) -> None:
    """A name that cannot even be looked up is told like any other that does not answer."""
    async with running(store, 6667, host="a..b") as bot:
        await bot.emit.until(lambda: len(bot.emit.reasons) >= 2)
        assert "not reachable" in bot.emit.reasons[0]
