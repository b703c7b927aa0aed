"""A Google Chat account's configuration."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from core.contract import asked

Doc = msgspec.Meta
GOOGLE: Final = "https://www.googleapis.com"
SYSTEM: Final = "chat@system.gserviceaccount.com"
TARGET_HELP: Final = "none: it needs a service account's key. Use: bridgebot accounts add googlechat"
_CHAT: Final = "google.workspace.chat."
EVENT_TYPES: Final = (
    _CHAT + "message.v1.created",
    _CHAT + "message.v1.updated",
    _CHAT + "message.v1.deleted",
    _CHAT + "reaction.v1.created",
    _CHAT + "reaction.v1.deleted",
    _CHAT + "membership.v1.created",
    _CHAT + "membership.v1.deleted",
    _CHAT + "space.v1.updated",
)
"""What a space's subscription asks for; batches of these come by themselves (Workspace Events, events-chat)."""
READ_SCOPES: Final = tuple(f"{GOOGLE}/auth/chat.app.{what}.readonly" for what in ("messages", "memberships", "spaces"))


class GoogleChatConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One Chat app of one Google Cloud project."""

    service_account: Annotated[
        str,
        asked(
            "Service account key",
            "Path of the JSON file from Google Cloud console → IAM & Admin → Service Accounts → Keys, or its content",
            secret=True,
        ),
    ]
    project_number: Annotated[
        str, asked("Project number", "Google Cloud console → Dashboard → Project info; digits only")
    ] = ""
    audience: Annotated[
        Literal["project", "url"],
        asked(
            "Authentication audience",
            "project or url: as chosen on the Chat API's Configuration page under Connection settings",
        ),
    ] = "project"
    pubsub_subscription: Annotated[
        str,
        asked(
            "Pub/Sub subscription",
            "projects/PROJECT/subscriptions/NAME (pull). Leave it out and the bot hears only messages that mention it",
        ),
    ] = ""
    pubsub_topic: Annotated[str, Doc(description="projects/PROJECT/topics/NAME; empty: the subscription's own")] = ""

    cards: Annotated[bool, Doc(description="Show authors by name and picture, in cards")] = False
    markup: Annotated[
        Literal["markdown", "chat"],
        Doc(description="Markup syntax on the Chat API's Configuration page: how Google writes formattedText for us"),
    ] = "markdown"
    include_resource: Annotated[
        bool,
        Doc(description="Events carry the messages (renewed every 2 h); off: only names, read one by one (7 days)"),
    ] = True
    event_types: Annotated[tuple[str, ...], Doc(description="What spaces' subscriptions ask for")] = EVENT_TYPES

    bot_scopes: Annotated[tuple[str, ...], Doc(description="Scopes for posting")] = (f"{GOOGLE}/auth/chat.bot",)
    read_scopes: Annotated[
        tuple[str, ...], Doc(description="Scopes for hearing everything; an administrator approves them")
    ] = READ_SCOPES
    pubsub_scopes: Annotated[tuple[str, ...], Doc(description="Scopes for Pub/Sub")] = (f"{GOOGLE}/auth/pubsub",)

    text_limit_bytes: Annotated[
        int, Doc(description="Longest text of a post; Google takes 32,000 bytes with all around it", ge=200, le=31_000)
    ] = 30_000
    writes_per_s: Annotated[float, Doc(description="Writes a second that a space takes, from all apps", gt=0)] = 1.0
    project_writes_per_min: Annotated[float, Doc(description="Writes a minute of the whole project", gt=0)] = 3000.0
    max_file_bytes: Annotated[int, Doc(description="Largest attachment that is read", ge=1)] = 200 * 1024 * 1024
    timeout_s: Annotated[float, Doc(description="How long Google may take to answer", gt=0)] = 20.0

    token_url: Annotated[str, Doc(description="Where tokens are granted; empty: as the key says")] = ""
    chat_url: str = "https://chat.googleapis.com"
    pubsub_url: str = "https://pubsub.googleapis.com"
    events_url: str = "https://workspaceevents.googleapis.com"
    oidc_keys_url: str = f"{GOOGLE}/oauth2/v3/certs"
    chat_keys_url: str = f"{GOOGLE}/service_accounts/v1/metadata/x509/{SYSTEM}"
    sender_email: Annotated[str, Doc(description="Who signs events for audience url")] = SYSTEM
    audience_url: Annotated[
        str, Doc(description="The app's HTTP endpoint URL as Google has it; empty: the public URL's own")
    ] = ""


def from_target(target: str) -> tuple[str, GoogleChatConfig]:
    """There is no target for Google Chat. Raises ValueError that says what to do instead."""
    raise ValueError("a Google Chat account needs a service account's key: use `bridgebot accounts add googlechat`")


def endpoint(config: GoogleChatConfig, url: str) -> str:
    """Where Google posts events to; ``url`` is where the account's routes are reached."""
    return config.audience_url or f"{url}/events"
