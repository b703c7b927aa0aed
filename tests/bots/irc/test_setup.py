"""Before an account is added: the first look at a server, on real servers and on one that plays its part."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bots.irc import PLATFORM
from bots.irc.adapter import IrcAdapter
from bots.irc.config import IrcConfig, apart, suggested_id
from bots.irc.setup import MOST_SAID
from bridgebot.commands.questions import questions
from bridgebot.fence import Fence, Typed, refuse_private
from core.contract import Invites, Rejected, Retry, Rooms
from core.store import Redis
from tests.bots.irc.support import ACCOUNT, ScriptedServer, services
from tests.bots.irc.test_scripted import signing_in
from tests.bridgebot.support import call
from tests.servers.irc import HermeticIrcClient, InspIrcd, NgIrcd, free_port

URL = "https://bridge.example.org"


async def looked(**given: object) -> tuple[str, IrcConfig]:
    """The answers, prepared as they are when somebody adds an account."""
    return await PLATFORM.prepare(msgspec.convert(given, IrcConfig), URL)


def test_what_is_asked() -> None:
    """The server first and needed, then what may stay empty; passwords are secrets."""
    asked = questions(IrcConfig)
    assert [one.title for one in asked] == [
        "Server", "Channels", "Nick", "SASL account", "SASL password", "Server password",
    ]  # fmt: skip
    assert [one.title for one in asked if one.needed] == ["Server"]
    assert [one.title for one in asked if one.secret] == ["SASL password", "Server password"]


@pytest.mark.parametrize(
    ("typed", "kept", "account"),
    [
        ("libera", ("irc.libera.chat", 6697, True), "irc-libera"),
        ("OFTC", ("irc.oftc.net", 6697, True), "irc-oftc"),
        ("irc.libera.chat", ("irc.libera.chat", 6697, True), "irc-libera"),
        ("irc.example.org", ("irc.example.org", 6697, True), "irc-irc.example.org"),
        ("irc.example.org:7000", ("irc.example.org", 7000, True), "irc-irc.example.org-7000"),
        ("irc.example.org:6667", ("irc.example.org", 6667, True), "irc-irc.example.org-6667"),
        ("IRCS://irc.example.org/", ("irc.example.org", 6697, True), "irc-irc.example.org"),
        ("irc://irc.example.org", ("irc.example.org", 6667, False), "irc-irc.example.org"),
        ("irc://irc.example.org:7000", ("irc.example.org", 7000, False), "irc-irc.example.org-7000"),
        ("[::1]:7000", ("::1", 7000, True), "irc-1-7000"),
        ("::1", ("::1", 6697, True), "irc-1"),
    ],
)
def test_a_server_is_taken_apart(typed: str, kept: tuple[str, int, bool], account: str) -> None:
    """Networks, hosts, ports and URLs; unencrypted only where irc:// says so; what is apart stays as it is."""
    config = apart(IrcConfig(host=typed))
    assert (config.host, config.port, config.tls) == kept
    assert suggested_id(config) == account
    assert apart(config) == config


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "irc.example.org/#a",
        "https://irc.example.org",
        "a b",
        "bob@irc.example.org",
        "h:99999",
        "h:0",
        "127。0。0。1",
    ],
)
def test_what_is_no_server_is_refused(typed: str) -> None:
    """With a word on what to write."""
    with pytest.raises(msgspec.ValidationError, match=r"Write (libera|a number)"):
        msgspec.convert({"host": typed}, IrcConfig)


async def test_a_server_lets_the_bot_in(server: NgIrcd | InspIrcd) -> None:
    """It registers, joins nothing, says goodbye, and what was typed is kept in its parts."""
    watcher = HermeticIrcClient("watcher")
    try:
        await watcher.connect(server.port)
        await watcher.join("#looked")
        name, config = await looked(host=f"irc://127.0.0.1:{server.port}", channels=["#looked"], nick="looker")
        assert name == f"irc-127.0.0.1-{server.port}"
        assert (config.host, config.port, config.tls) == ("127.0.0.1", server.port, False)
        await watcher.settled()
        assert not [line for line in watcher.lines if "looker" in line]
        watcher.send("WHOIS looker")
        await watcher.sees(" 401 ")
    finally:
        await watcher.close()


async def test_a_server_lets_the_bot_in_by_tls(inspircd: InspIrcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a good certificate; one of nobody that is known is refused in words."""
    host = f"localhost:{inspircd.tls_port}"
    with pytest.raises(Rejected, match="certificate that cannot be trusted: self"):
        await looked(host=host)
    monkeypatch.setenv("SSL_CERT_FILE", str(inspircd.ca_file))
    assert (await looked(host=host))[0] == f"irc-localhost-{inspircd.tls_port}"


async def test_a_taken_nick_is_no_obstacle(server: NgIrcd | InspIrcd) -> None:
    """The bot will be called a little differently, as what is left to do says."""
    holder = HermeticIrcClient("holder")
    try:
        await holder.connect(server.port)
        _, config = await looked(host=f"irc://127.0.0.1:{server.port}", nick="holder")
        assert config.nick == "holder"
    finally:
        await holder.close()
    assert any("holder_ until" in step for step in PLATFORM.next_steps(ACCOUNT, config, URL))


async def test_a_nick_that_the_server_does_not_take(server: NgIrcd | InspIrcd) -> None:
    """Its own word is told, and to choose another."""
    with pytest.raises(Rejected, match=r"does not take the nick béé \(.+\)\. Choose another\."):
        await looked(host=f"irc://127.0.0.1:{server.port}", nick="béé")


async def test_no_sasl_on_real_servers(server: NgIrcd | InspIrcd) -> None:
    """Where the bot cannot sign in it is not added without its name."""
    with pytest.raises(Rejected, match="offers no SASL"):
        await looked(host=f"irc://127.0.0.1:{server.port}", sasl_user="bot", sasl_password="secret")


class Locked(NgIrcd):
    """ngIRCd with a password."""

    def _prepare(self) -> None:
        super()._prepare()
        path = self.folder / "ngircd.conf"
        path.write_text(path.read_text().replace("[Limits]", "Password = open sesame\n[Limits]"))


async def test_a_server_with_a_password(tmp_path: Path) -> None:
    """It is asked for where it is missing, and where it is wrong that is said."""
    with Locked(tmp_path) as server:
        host = f"irc://127.0.0.1:{server.port}"
        with pytest.raises(Rejected, match="wants a server password"):
            await looked(host=host)
        with pytest.raises(Rejected, match="does not take the server password"):
            await looked(host=host, password="guess")
        await looked(host=host, password="open sesame")


class Banning(InspIrcd):
    """InspIRCd that bans this machine."""

    def _prepare(self) -> None:
        super()._prepare()
        with (self.folder / "inspircd.conf").open("a") as file:
            file.write('<badhost host="*@127.0.0.1" reason="no robots please">\n')


async def test_a_ban_is_told(tmp_path: Path) -> None:
    """With the server's reason and whom to ask."""
    words = r"does not let the bot in: .*no robots please.*network's staff"
    with Banning(tmp_path) as server, pytest.raises(Rejected, match=words):
        await looked(host=f"irc://127.0.0.1:{server.port}")


async def test_nobody_there(server: NgIrcd | InspIrcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port where nothing listens, one without TLS, a name of nobody: each in words with what to write."""
    monkeypatch.setattr("bots.irc.setup.HANDSHAKE_S", 1.0)
    with pytest.raises(Retry, match=r"nothing listens at 127\.0\.0\.1:\d+\. TLS is usually on port 6697"):
        await looked(host=f"127.0.0.1:{free_port()}")
    with pytest.raises(Retry, match=r"Without TLS it is usually port 6667: irc://127\.0\.0\.1:6667"):
        await looked(host=f"irc://127.0.0.1:{free_port()}")
    with pytest.raises(Rejected, match="does not speak TLS"):
        await looked(host=f"127.0.0.1:{server.port}")
    with pytest.raises(Rejected, match=r"There is no server called a\.\.b"):
        await looked(host="a..b")


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [(socket.EAI_NONAME, Rejected, "no server called x.invalid"), (socket.EAI_AGAIN, Retry, "cannot be looked up")],
)
async def test_a_name_of_nobody(monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception], words: str) -> None:
    """A name that does not exist must be mended; one that cannot be looked up is tried again later."""

    async def nobody(*where: object, **how: object) -> None:
        raise socket.gaierror(code, "as the resolver says")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody)
    with pytest.raises(error, match=words):
        await looked(host="x.invalid")


async def test_sasl_is_tried() -> None:
    """The right password is taken, before anything else happens; nothing is joined."""
    async with ScriptedServer(caps="sasl message-tags") as server:
        heard = signing_in(server, accept=True)
        await looked(
            host=f"irc://127.0.0.1:{server.port}", channels=["#garden"], sasl_user="bot", sasl_password="secret"
        )
        assert heard == [b"\0bot\0secret"]
        await server.got("QUIT")
        assert not [line for line in server.lines if line.startswith(("JOIN", "PRIVMSG"))]


async def test_a_wrong_sasl_password_is_told() -> None:
    """With the server's word and without the password."""
    async with ScriptedServer(caps="sasl") as server:
        signing_in(server, accept=False)
        with pytest.raises(Rejected, match=r"does not take the SASL account and its password \(Wrong password\)") as no:
            await looked(host=f"irc://127.0.0.1:{server.port}", sasl_user="bot", sasl_password="canary")
        assert "canary" not in str(no.value)


@pytest.mark.parametrize("half", [{"sasl_user": "bot"}, {"sasl_password": "secret"}])
async def test_half_of_a_sign_in_is_none(half: dict[str, str]) -> None:
    """An account without its password, or the other way round, is refused before anybody is asked."""
    with pytest.raises(Rejected, match="Give both, or none"):
        await looked(host="irc://127.0.0.1:1", **half)


Answer = Callable[[str], str | None]


def greets_without_cap(server: ScriptedServer) -> Answer:
    """A server that lets everybody in without a question."""
    return lambda line: server.greeting() if line.startswith("USER") else "" if line.startswith("CAP") else None


def says(words: str) -> Callable[[ScriptedServer], Answer]:
    """A server that answers the first line with ``words``."""
    return lambda server: lambda line: words if line.startswith("USER") else "" if line.startswith("CAP") else None


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (greets_without_cap, Rejected, "offers no SASL"),
        (says(":s 465 * :Robots!\nERROR :K-lined"), Rejected, r"does not let the bot in: Robots \(K-lined\)\. Ask"),
        (says(":s 464 * :Password incorrect"), Rejected, r"wants a server password \(Password incorrect\)"),
        (says("\n".join([":s 433 * bot :In use"] * 9)), Rejected, "nick bridgebot is taken .* Choose another"),
        (says("ERROR :Throttled\x1b[2J: too fast."), Retry, r"closes the connection: Throttled\[2J: too fast\.$"),
        (says("ERROR :" + "x" * 5000), Retry, f"closes the connection: x{{{MOST_SAID}}}" + r"\.$"),
    ],
)
async def test_what_a_server_has_against_us(
    script: Callable[[ScriptedServer], Answer], error: type[Exception], words: str
) -> None:
    """Its word is told, cleaned and cut, with what to do."""
    async with ScriptedServer() as server:
        answer = script(server)

        def and_closes(line: str) -> str | None:
            said = answer(line)
            if said and "ERROR" in said:
                server.send(*said.split("\n"))
                for writer in list(server._writers):
                    writer.close()
                return ""
            return said

        server.answer = and_closes
        with pytest.raises(error, match=words):
            await looked(host=f"irc://127.0.0.1:{server.port}", sasl_user="bot", sasl_password="secret")


async def test_a_silent_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes the connection and says nothing, and one that hangs up."""
    monkeypatch.setattr("bots.irc.setup.LOOK_S", 0.3)
    async with ScriptedServer() as server:
        server.answer = lambda line: ""
        with pytest.raises(Retry, match="does not answer in time"):
            await looked(host=f"irc://127.0.0.1:{server.port}")

        def hangs_up(line: str) -> str:
            server.cut()
            return ""

        server.answer = hangs_up
        with pytest.raises(Retry, match="closes the connection"):
            await looked(host=f"irc://127.0.0.1:{server.port}")


INSIDE = [
    "127.0.0.1:{port}",
    "127.1:{port}",
    "2130706433:{port}",
    "0x7f000001:{port}",
    "localhost:{port}",
    "[::1]:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "ircs://127.0.0.1:{port}",
    "irc://127.0.0.1:{port}",
]


@pytest.mark.parametrize("typed", INSIDE)
async def test_no_member_gets_into_our_own_network(typed: str) -> None:
    """What was typed is refused, and behind the fence there is no connection either, TLS or not (threat 13)."""
    async with ScriptedServer() as server:
        host = typed.format(port=server.port)
        with pytest.raises(Rejected, match=r"private network|begins with ircs://"):
            await refuse_private([Typed("Server", host, is_address=True)])
        with pytest.raises(Retry, match="not public"):
            await Fence().run(lambda: looked(host=host), 15)
        assert server.connections == 0


async def test_rooms_and_invitations(store: Redis) -> None:
    """The adapter lists its channels and says how it is invited, as the first steps do."""
    adapter = IrcAdapter(ACCOUNT, IrcConfig(host="h", nick="mybridge"), services(store))
    assert isinstance(adapter, Rooms)
    assert isinstance(adapter, Invites)
    assert "/invite mybridge #channel" in adapter.invite("1234").steps[0]
    steps = PLATFORM.next_steps(ACCOUNT, IrcConfig(host="h", nick="mybridge", channels=("#a key", "#b")), URL)
    assert steps[0] == "The bot joins #a, #b by itself, and says hello."
    assert "In any other channel, as one of its operators, type: /invite mybridge #channel" in steps
    assert any("NickServ" in step for step in steps)
    signed = IrcConfig(host="h", sasl_user="u", sasl_password="p")
    assert not any("NickServ" in step for step in PLATFORM.next_steps(ACCOUNT, signed, URL))


def test_on_the_command_line(tmp_path: Path, ngircd: NgIrcd, inspircd: InspIrcd) -> None:
    """A line for each answer; one server, however it is written, is one account, and another port is another one."""
    data = ("--data", str(tmp_path / "data"))

    def add(*lines: str, words: tuple[str, ...] = ()) -> str:
        done = call(tmp_path, "accounts", "add", "irc", *words, *data, text="".join(f"{line}\n" for line in lines))
        return done.stdout + done.stderr

    there = f"irc://127.0.0.1:{ngircd.port}"
    account = f"irc-127-0-0-1-{ngircd.port}"
    assert "IRC does not take it: " in add(there, "#garden", "héhé")
    assert "Error: 'garden' is no channel. Write #name" in add(there, "garden")
    told = add(there, "#garden, #shed", "mybridge")
    assert told.startswith(f"Added {account}.\n  ok   ")
    assert "1. The bot joins #garden, #shed by itself" in told
    assert "/invite mybridge #channel" in told
    for again in (there, there.upper().replace("IRC", "irc")):
        assert add(again, "#garden #shed", "mybridge") == f"It is there already: {account}.\n"
    assert add(f"irc://127.0.0.1:{inspircd.port}", "#garden, #shed", "mybridge").startswith("Added irc-127-0-0-1-")
    listed = call(tmp_path, "accounts", "list", *data).stdout
    assert f"host=127.0.0.1  port={ngircd.port}  tls=False  channels=#garden,#shed  nick=mybridge" in listed


def test_a_server_that_is_not_there_yet(tmp_path: Path) -> None:
    """Answers are kept with --unchecked only; a target and JSON are taken as they are, for the bot goes on trying."""
    data = ("--data", str(tmp_path / "data"))
    add = ("accounts", "add", "irc")
    port = free_port()
    typed = f"irc://127.0.0.1:{port}\n#a\n"
    refused = call(tmp_path, *add, *data, text=typed)
    assert "IRC does not answer: nothing listens at " in refused.stderr
    assert "accounts add irc --unchecked" in refused.stderr
    assert call(tmp_path, *add, "--unchecked", *data, text=typed).stdout.startswith("Added irc.\n  BAD  ")
    assert call(tmp_path, *add, "--unchecked", *data, text=typed).stdout == "It is there already: irc.\n"
    target = f"irc://127.0.0.1:{free_port()}/#a"
    assert call(tmp_path, *add, target, *data).stdout.startswith("Added irc-127-0-0-1-")
    assert call(tmp_path, *add, target, *data).stdout.startswith("It is there already: irc-127-0-0-1-")
    json = '{"host": "127.0.0.1", "port": 1, "tls": false}'
    assert call(tmp_path, *add, "-", "--id", "three", *data, text=json).stdout.startswith("Added three.")
