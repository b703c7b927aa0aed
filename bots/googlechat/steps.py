"""What the operator does in Google's consoles, click by click."""

from __future__ import annotations

from collections.abc import Sequence

from bots.googlechat.config import GoogleChatConfig, endpoint


def steps(config: GoogleChatConfig, url: str) -> Sequence[str]:
    """See Platform.next_steps."""
    where = endpoint(config, url)
    audience = "HTTP endpoint URL" if config.audience == "url" else "Project Number"
    syntax = "Chat" if config.markup == "chat" else "Markdown"
    first = [
        "Google Cloud console → APIs & Services → Enable APIs: enable the Google Chat API.",
        "Google Chat API → Manage → Configuration: clear “Build this Chat app as a Workspace add-on” before you save "
        "for the first time; give the app a name (not the word of the commands), an avatar URL and a description.",
        "Same page, Functionality: tick “Join spaces and group conversations”.",
        f"Same page, Connection settings: HTTP endpoint URL, {where}, Authentication audience: {audience}.",
        f"Same page, Commands: add the slash command /sameroom. Markup syntax: {syntax}.",
        "Same page, Visibility: make it available to the people or the domain that shall use it; Save.",
    ]
    if not config.pubsub_subscription:
        return [
            *first,
            "Add the app to a space: the space's name → Apps & integrations → Add apps. It hears only messages that "
            "mention it; docs/platforms/googlechat.md says how it hears everything.",
        ]
    return [
        *first,
        "APIs & Services → Enable APIs: enable the Google Workspace Events API and the Cloud Pub/Sub API.",
        f"Pub/Sub → Topics → {config.pubsub_topic or 'your topic'} → Permissions: give "
        "chat-api-push@system.gserviceaccount.com the role Pub/Sub Publisher.",
        f"Pub/Sub → Subscriptions → {config.pubsub_subscription} (Pull): give the service account the roles Pub/Sub "
        "Subscriber and Pub/Sub Viewer; acknowledgement deadline 60 s, retention 7 days.",
        "An administrator of the Workspace approves the scopes chat.app.messages.readonly, "
        "chat.app.memberships.readonly and chat.app.spaces.readonly: list them on the Google Workspace Marketplace "
        "SDK's App Configuration page, publish the app privately, then Admin console → Apps → Marketplace "
        "apps → the app → Install for the domain.",
        "Add the app to a space: the space's name → Apps & integrations → Add apps.",
    ]
