"""A platform whose accounts teams add: its service is in memory, and what an account says there can be read.

The service is in the token: ``good-NAME`` is an account called NAME, ``silent`` does not answer, ``calls`` asks the
server that was typed, ``crash`` is a mistake of ours, and everything else is refused. Run as a module it is
``bridgebot`` with this platform in the registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal

import aiohttp
import msgspec

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
    Services,
    asked,
)
from core.giving import Handout
from core.model import AccountId, NativeId, PlatformId, RoomId, native_room, room_id

HERE = "tests.portal.teahouse"
ROW = f"{HERE}:PLATFORM"
NATIVES = ("green", "black", "white")


class TeaConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An account on the service."""

    token: Annotated[str, asked("Bot token", "From the service: good-NAME", secret=True)]
    server: Annotated[str, asked("Server's address", "https://tea.example.org")] = ""
    key: Annotated[str, asked("Key", "Path of the JSON file, or its content", secret=True)] = ""
    rooms: Annotated[tuple[str, ...], asked("Rooms", "More rooms, with blanks between them")] = ()
    limit: Annotated[int, msgspec.Meta(ge=1), asked("Limit", "Messages a minute")] = 5
    loud: Annotated[bool, asked("Loud")] = False
    blend: Annotated[Literal["mild", "strong"], asked("Blend")] = "mild"
    name: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.server == "nowhere":
            raise ValueError(f"At nowhere there is no {self.token}.")


class Tea:
    """One account."""

    said: dict[RoomId, list[str]]

    def __init__(self, account: AccountId, config: TeaConfig, services: Services) -> None:
        self.account = account
        self.config = config
        self.said = {}
        self.admins: set[str] = set()

    async def start(self, emit: Emit) -> None:
        """Online at once, unless it is broken."""
        if self.config.name == "broken":
            emit.offline(f"the service hung up on {self.config.token}")
        else:
            emit.online()

    async def stop(self) -> None:
        """Nothing is open."""

    def capabilities(self, room: RoomId) -> Capabilities:
        """Text."""
        return Capabilities()

    async def send(self, outbound: Outbound) -> Receipt:
        """Keep it."""
        lines = self.said.setdefault(outbound.room, [])
        lines.append(outbound.text.plain)
        return Receipt((NativeId(f"{len(lines)}"),))

    def room_info(self, room: RoomId) -> RoomInfo:
        """The room under its title."""
        return RoomInfo(room, f"{native_room(room).capitalize()} tea", "the teahouse")

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Whoever the test says."""
        return author_id in self.admins

    async def rooms(self) -> Sequence[RoomInfo]:
        """All of them."""
        if self.config.name == "mute":
            raise Retry(1, f"the service counts rooms for {self.config.token}")
        if self.config.name == "empty":
            return ()
        names = (*NATIVES, *self.config.rooms)
        return [self.room_info(room_id(self.account, native)) for native in names]

    def invite(self, code: str) -> Invite:
        """How it comes into a room."""
        return Invite("Teahouse", (f"Call @{self.config.name} and say: -sameroom connect {code}",))


async def prepare(config: TeaConfig, public_url: str) -> tuple[str, TeaConfig]:
    """See Platform.prepare."""
    if config.token == "silent":
        raise Retry(1, "no route to tea.example")
    if config.token == "crash":
        raise RuntimeError(f"a mistake of ours with {config.token}")
    if config.token == "moved":
        return "moved", msgspec.structs.replace(config, name="https://127.0.0.1/elsewhere")
    if config.token == "calls":
        try:
            async with aiohttp.ClientSession() as session, session.get(config.server) as answer:
                return await answer.text(), msgspec.structs.replace(config, name="called")
        except (aiohttp.ClientError, ValueError) as error:
            raise Retry(1, str(error)) from None
    if not config.token.startswith("good-"):
        raise Rejected(f"Copy the whole token from the service, not {config.token}.")
    name = config.token.removeprefix("good-").partition("-")[0]
    return name, msgspec.structs.replace(config, name=name)


async def check(config: TeaConfig, url: str) -> Sequence[Finding]:
    """See Platform.check."""
    return (
        Finding(True, f"the service knows {config.name}"),
        Finding(config.name != "sick", f"it pours with {config.token}", f"Warm {config.token} up."),
    )


def next_steps(account: AccountId, config: TeaConfig, url: str) -> Sequence[str]:
    """See Platform.next_steps."""
    return (f"Tell the service to call {url}.", f"Never show {config.token}.")


def handout(account: AccountId, config: TeaConfig, url: str) -> Handout | None:
    """See Platform.handout."""
    return Handout("cups.yaml", f"{url} takes {config.token}\n") if config.name == "cup" else None


async def revoke(config: TeaConfig, url: str, app: None) -> str:
    """See Platform.revoke."""
    if config.name == "stuck":
        await asyncio.Event().wait()
    if config.name == "odd":
        raise RuntimeError(f"a mistake of ours with {config.token}")
    if config.name == "sour":
        raise Retry(1, f"the service keeps {config.token}")
    if config.server:
        async with aiohttp.ClientSession() as session, session.get(config.server) as answer:
            return await answer.text()
    return f"{config.token} is poured away." if config.name == "jade" else ""


def from_target(target: str) -> tuple[str, TeaConfig]:
    """The token."""
    return "tea", TeaConfig(token=target)


PLATFORM = Platform(
    id=PlatformId("tea"),
    title="Teahouse",
    config=TeaConfig,
    create=Tea,
    from_target=from_target,
    check=check,
    prepare=prepare,
    next_steps=next_steps,
    handout=handout,
    revoke=revoke,
    revoke_by_hand="Pour it away at tea.example.",
)


def main() -> None:
    """``bridgebot`` with this platform."""
    from bridgebot.__main__ import main as bridgebot

    registry.PLATFORMS["tea"] = ROW
    bridgebot()


if __name__ == "__main__":
    main()
