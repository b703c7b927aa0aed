"""A platform that needs an account, calls us over HTTP and can be invited: what onboarding is tried on.

Its service is in the token: ``good-NAME`` is an account called NAME, ``silent`` is a service that does not answer, and
everything else is refused. Run as a module it is ``bridgebot`` with this platform in the registry.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Annotated

import click
import msgspec
from aiohttp import WSMsgType, web

from bots import registry
from core.contract import (
    Capabilities,
    Emit,
    Finding,
    Invite,
    Outbound,
    Platform,
    Receipt,
    Rejected,
    Retry,
    RoomInfo,
    Route,
    Secret,
    Services,
    asked,
)
from core.model import AccountId, PlatformId, RoomId

HERE = "tests.bridgebot.demo"


class DemoConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An account on the service."""

    token: Annotated[str, asked("Bot token", "From the service: good-NAME", secret=True)]
    rooms: Annotated[tuple[str, ...], asked("Rooms")] = ()
    limit: Annotated[int, msgspec.Meta(ge=1), asked("Limit", "Messages a minute")] = 5
    loud: Annotated[bool, asked("Loud")] = False
    key: Annotated[str, asked("Key", secret=True)] = ""
    name: str = ""
    hook_secret: Annotated[str, Secret] = ""
    calls_us: bool = True


class Demo:
    """One account: a page, an upload and a socket; nothing can be posted."""

    def __init__(self, account: AccountId, config: DemoConfig, services: Services) -> None:
        self.account = account
        self.config = config
        self._sockets: set[web.WebSocketResponse] = set()

    async def start(self, emit: Emit) -> None:
        """Online at once."""
        emit.online()

    async def stop(self) -> None:
        """Send the sockets away."""
        for socket in list(self._sockets):
            await socket.close(message=b"stopped")

    def capabilities(self, room: RoomId) -> Capabilities:
        """Text."""
        return Capabilities()

    async def send(self, outbound: Outbound) -> Receipt:
        """Nothing."""
        raise Rejected("nobody listens")

    def room_info(self, room: RoomId) -> RoomInfo:
        """The room by its id."""
        return RoomInfo(room, room)

    def invite(self, code: str) -> Invite:
        """A link for one tap."""
        url = f"https://demo.example/add/{self.config.name}?code={code}"
        return Invite(f"@{self.config.name}", (f"Add @{self.config.name} to your room.",), url)

    def routes(self, emit: Emit) -> Sequence[Route]:
        """Three, unless the service does not call us."""
        found = (
            Route("GET", "hello/{who}", self._hello),
            Route("POST", "up", self._upload),
            Route("GET", "ws/{who}", self._socket),
        )
        return found if self.config.calls_us else ()

    async def _hello(self, request: web.Request) -> web.Response:
        return web.Response(text=f"{self.config.name} {self.config.limit} {request.match_info['who']}")

    async def _upload(self, request: web.Request) -> web.Response:
        size_bytes = 0
        async for piece in request.content.iter_any():
            size_bytes += len(piece)
        return web.Response(text=str(size_bytes))

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"{request.match_info['who']} {self.config.limit} {message.data}")
        self._sockets.discard(socket)
        return socket


def from_target(target: str) -> tuple[str, DemoConfig]:
    """The token."""
    return "demo", DemoConfig(token=target)


async def prepare(config: DemoConfig, public_url: str) -> tuple[str, DemoConfig]:
    """See Platform.prepare."""
    if config.token == "silent":
        raise Retry(1, "no route to demo.example")
    if not config.token.startswith("good-"):
        raise Rejected(f"Copy the whole token from the service, not {config.token}.")
    name = config.token.removeprefix("good-")
    return name, msgspec.structs.replace(config, name=name, hook_secret=secrets.token_hex(8))


_second_is_looked_at = asyncio.Event()


async def check(config: DemoConfig, url: str) -> Sequence[Finding]:
    """See Platform.check. The account ``first`` is done only when ``second`` is looked at, too."""
    if config.name == "second":
        _second_is_looked_at.set()
    if config.name == "first":
        await _second_is_looked_at.wait()
    if config.name == "broken":
        raise RuntimeError("a mistake of the platform's")
    return (Finding(config.name != "sick", f"{config.name} is called at {url}", ""),)


def next_steps(account: AccountId, config: DemoConfig, url: str) -> Sequence[str]:
    """See Platform.next_steps."""
    return (f"Tell the service to call {url}/up.", f"Invite @{config.name}.")


async def revoke(config: DemoConfig, url: str, app: None) -> str:
    """See Platform.revoke."""
    if config.name == "stubborn":
        raise Retry(1, f"the service keeps {config.token}")
    return f"Told {url} farewell." if config.name == "polite" else ""


PLATFORM = Platform(
    id=PlatformId("demo"),
    title="Demo",
    config=DemoConfig,
    create=Demo,
    from_target=from_target,
    target_help="the token",
    check=check,
    prepare=prepare,
    revoke=revoke,
    revoke_by_hand="Do it at demo.example.",
    next_steps=next_steps,
)
ROW = f"{HERE}:PLATFORM"


@click.command()
@click.option("--size", type=int)
def tool(size: int) -> None:
    """Makes a demo."""
    click.echo(f"made {size}")


def main() -> None:
    """``bridgebot``, at the terminal that is its standard input where it is one."""
    import fcntl
    import os
    import termios

    from bridgebot.__main__ import main as bridgebot

    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    registry.PLATFORMS["demo"] = ROW
    bridgebot()


if __name__ == "__main__":
    main()
