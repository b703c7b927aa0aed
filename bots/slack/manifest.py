"""The app manifest: everything of an app in one text, from which Slack makes it (docs.slack.dev/app-manifests)."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

NEEDED: Final = (
    "channels:history",
    "channels:read",
    "chat:write",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "reactions:read",
    "reactions:write",
    "users:read",
)
"""Scopes without which an account is not added."""
WANTED: Final = (
    "app_mentions:read",
    "channels:join",
    "chat:write.customize",
    "commands",
    "im:history",
    "im:read",
    "mpim:history",
    "mpim:read",
)
"""Scopes without which something is missing: authors' own names, slash commands, direct messages."""
EVENTS: Final = (
    "app_mention",
    "channel_archive",
    "channel_deleted",
    "channel_id_changed",
    "channel_left",
    "channel_rename",
    "channel_unarchive",
    "group_archive",
    "group_deleted",
    "group_left",
    "group_rename",
    "group_unarchive",
    "member_joined_channel",
    "member_left_channel",
    "message.channels",
    "message.groups",
    "message.im",
    "message.mpim",
    "reaction_added",
    "reaction_removed",
    "user_change",
)


ENDED: Final = ("app_uninstalled", "tokens_revoked")
"""Events by which an app of many workspaces hears that one of them has left."""


def manifest(name: str, prefix: str = "sameroom", url: str = "", site: str = "") -> dict[str, Any]:
    """The manifest of an app that is called ``name``. ``url``: where Slack reaches the account's routes; ``site``:
    where the portal is, for an app that many workspaces add there; neither: through Socket Mode. Raises ValueError that
    says what to write."""
    if site and url:
        raise ValueError("Write either the address of one account, or that of the portal where teams add theirs.")
    url = f"{site.rstrip('/')}/apps/slack" if site else url
    name = name.strip()
    if not name or len(name) > 35:
        raise ValueError("A Slack app's name has 1 to 35 characters.")
    if url and not url.startswith("https://"):
        raise ValueError(
            "The address must begin with https://, or Slack does not call it. Without one, it is not needed."
        )
    command: dict[str, Any] = {
        "command": f"/{prefix}",
        "description": "Connects this conversation with a room of another chat service",
        "usage_hint": "open | connect CODE | help",
        "should_escape": False,
    }
    events: dict[str, Any] = {"bot_events": sorted((*EVENTS, *ENDED)) if site else list(EVENTS)}
    oauth: dict[str, Any] = {"scopes": {"bot": sorted((*NEEDED, *WANTED))}}
    if site:
        oauth["redirect_urls"] = [f"{site.rstrip('/')}/add/slack/done"]
    if url:
        command["url"] = f"{url.rstrip('/')}/commands"
        events["request_url"] = f"{url.rstrip('/')}/events"
    return {
        "display_information": {
            "name": name,
            "description": "Connects this workspace's channels with rooms of other chat services.",
        },
        "features": {
            "app_home": {"home_tab_enabled": False, "messages_tab_enabled": True},
            "bot_user": {"display_name": name, "always_online": True},
            "slash_commands": [command],
        },
        "oauth_config": oauth,
        "settings": {
            "event_subscriptions": events,
            "org_deploy_enabled": False,
            "socket_mode_enabled": not url,
            "token_rotation_enabled": False,
        },
    }


@click.command("slack-manifest")
@click.option("--name", default="Sameroom", show_default=True, help="What people see in Slack.")
@click.option("--prefix", default="sameroom", show_default=True, help="The word of the chat commands.")
@click.option(
    "--url",
    default="",
    help="https://bridge.example.org/bots/ACCOUNT, if Slack shall call us; else Socket Mode is used.",
)
@click.option(
    "--site",
    default="",
    help="https://bridge.example.org, if teams shall add the app to their workspaces in the portal.",
)
def command(name: str, prefix: str, url: str, site: str) -> None:
    """Print the manifest that a Slack app is made from."""
    try:
        made = manifest(name, prefix, url, site)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    click.echo(msgspec.json.format(msgspec.json.encode(made), indent=2).decode())
