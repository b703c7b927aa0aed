"""A Slack account's configuration."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from core.contract import asked

Doc = msgspec.Meta
GIGABYTE = 1_000_000_000
BY_HAND: Final = (
    "Do it on Slack: in the workspace's settings, Manage apps, the app, Remove app; an app that you made yourself is "
    "deleted at api.slack.com/apps, your app, Basic Information."
)


class SlackConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One app in one workspace. With an app token Slack is heard through Socket Mode, without one through HTTP."""

    bot_token: Annotated[str, asked("Bot token", "OAuth & Permissions: xoxb-…", secret=True)]
    app_token: Annotated[
        str,
        asked(
            "App-level token", "Basic Information, with connections:write: xapp-…; empty: Slack calls us", secret=True
        ),
    ] = ""
    signing_secret: Annotated[
        str, asked("Signing secret", "Basic Information, App Credentials; empty with an app-level token", secret=True)
    ] = ""
    by_app: Annotated[
        bool,
        Doc(description="The team signed in at Slack: the operator's app is called for all such teams in one place"),
    ] = False
    team_id: Annotated[str, Doc(description="The workspace; asked of Slack when the account is added")] = ""
    team_name: Annotated[str, Doc(description="The workspace's name; asked of Slack")] = ""
    user_id: Annotated[str, Doc(description="The bot as a member; asked of Slack")] = ""
    bot_id: Annotated[str, Doc(description="The bot as an author; asked of Slack")] = ""
    app_id: Annotated[str, Doc(description="The app; asked of Slack")] = ""
    bot_name: Annotated[str, Doc(description="What the bot is called; asked of Slack")] = ""
    customize: Annotated[bool, Doc(description="Post under authors' own names and pictures (chat:write.customize)")] = (
        True
    )
    replies: Annotated[
        Literal["thread and channel", "thread", "words"],
        Doc(description="Where an answer from elsewhere stands; words: in the channel, with what it answers in words"),
    ] = "thread and channel"
    api_url: Annotated[str, Doc(description="The Web API")] = "https://slack.com/api"
    file_hosts: Annotated[
        tuple[str, ...], Doc(description="Hosts that files are fetched from with the token, and sent to")
    ] = ("files.slack.com", "slack-files.com")
    request_timeout_s: Annotated[float, Doc(description="Longest wait for an answer of Slack", gt=0)] = 20.0
    reorder_ms: Annotated[
        int, Doc(description="How long an event that Slack calls us with waits for earlier ones", ge=0, le=1000)
    ] = 150
    rate_per_s: Annotated[float, Doc(description="Posts per second in a channel in the long run", gt=0)] = 1.0
    rate_burst: Annotated[int, Doc(description="Posts at once in a channel", ge=1)] = 3
    account_rate_per_s: Annotated[float, Doc(description="Posts per second in all rooms together", gt=0)] = 5.0
    file_limit_bytes: Annotated[int, Doc(description="Largest file that is posted or fetched", ge=1)] = GIGABYTE


class SlackApp(msgspec.Struct, frozen=True, kw_only=True):
    """The app that the operator registered, by which teams add their workspaces."""

    client_id: Annotated[str, asked("Client ID", "Basic Information, App Credentials: 1234567890.1234567890")]
    client_secret: Annotated[str, asked("Client secret", "Basic Information, App Credentials", secret=True)]
    signing_secret: Annotated[str, asked("Signing secret", "Basic Information, App Credentials", secret=True)]
    authorize_url: Annotated[str, Doc(description="Where people agree")] = "https://slack.com/oauth/v2/authorize"
    api_url: Annotated[str, Doc(description="The Web API")] = "https://slack.com/api"


def from_target(target: str) -> tuple[str, SlackConfig]:
    """Tokens have no place on a command line. Raises ValueError that says what to do instead."""
    raise ValueError(
        "A Slack app is added with its tokens, which others could read on the command line. "
        "Use: bridgebot accounts add slack"
    )
