"""Guest rooms in the browser: a page, a name, and you are in the conversation. No account anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from core.contract import Finding, Hears, Platform
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.web.adapter import WebAdapter
    from core.contract import Services

Doc = msgspec.Meta


class WebConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of this installation's guest rooms. Every default suits a small public server."""

    history_messages: Annotated[int, Doc(description="Messages a room remembers", ge=10)] = 500
    history_bytes: Annotated[int, Doc(description="Most a room's messages take in the store", ge=65_536)] = 1_048_576
    room_idle_days: Annotated[int, Doc(description="Days without a visitor after which a room is gone", ge=1)] = 30
    max_rooms: Annotated[int, Doc(description="Most rooms that exist at a time", ge=1)] = 5_000
    rooms_per_minute: Annotated[int, Doc(description="Most rooms made in a minute", ge=1)] = 30
    max_guests_per_room: Annotated[int, Doc(description="Most people who ever joined one room", ge=2)] = 1_000
    joins_per_minute: Annotated[int, Doc(description="Most people who join one room in a minute", ge=1)] = 60
    max_sockets_per_room: Annotated[int, Doc(description="Most open pages of a room in one process", ge=2)] = 500
    max_text_chars: Annotated[int, Doc(description="Longest message a guest may type", ge=100, le=32_000)] = 8_000
    says_per_s: Annotated[float, Doc(description="Messages and reactions per second of one guest", gt=0)] = 1.0
    says_burst: Annotated[int, Doc(description="How many of them may come at once", ge=1)] = 15
    max_file_bytes: Annotated[int, Doc(description="Largest file a guest may share", ge=1)] = 10 * 1024 * 1024
    file_days: Annotated[int, Doc(description="Days a shared file is kept", ge=1)] = 7
    upload_bytes_per_day: Annotated[int, Doc(description="Most bytes shared a day in all rooms", ge=1)] = (
        512 * 1024 * 1024
    )


def _create(account: AccountId, config: Any, services: Services) -> WebAdapter:
    from bots.web.adapter import WebAdapter

    return WebAdapter(account, config, services)


def _from_target(target: str) -> tuple[str, WebConfig]:
    if target not in ("", "web"):
        raise ValueError("Guest rooms need no target: write just --web")
    return "web", WebConfig()


async def _check(config: Any, url: str) -> Sequence[Finding]:
    kept = config.upload_bytes_per_day * config.file_days // 1_048_576
    return (Finding(True, f"guest rooms: shared files take at most {kept} MiB of the store"),)


PLATFORM = Platform(
    id=PlatformId("web"),
    title="Browser",
    config=WebConfig,
    create=_create,
    from_target=_from_target,
    target_help="nothing: guest rooms need no account",
    check=_check,
    hears=Hears(
        edit="full",
        delete="full",
        reply="full",
        reaction="full",
        file="full",
        typing="full",
        entities=frozenset({"bold", "italic", "strike", "code", "pre", "quote", "link"}),
    ),
)
