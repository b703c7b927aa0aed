"""The Web API's rules: which arguments and scopes a method has, and what blocks may hold (docs.slack.dev/reference)."""

from __future__ import annotations

import json
import re
from typing import Any

Raw = dict[str, Any]
METHODS: dict[str, tuple[str, str, str]] = {
    "auth.test": ("", "", ""),
    "auth.revoke": ("", "", ""),
    "apps.uninstall": ("", "client_id client_secret", ""),
    "bots.info": ("users:read", "bot", ""),
    "users.info": ("users:read", "user", ""),
    "users.conversations": ("channels:read", "", "types exclude_archived limit cursor"),
    "conversations.info": ("channels:read", "channel", ""),
    "conversations.join": ("channels:join", "channel", ""),
    "conversations.history": (
        "channels:history",
        "channel",
        "oldest latest limit inclusive cursor include_all_metadata",
    ),
    "conversations.replies": (
        "channels:history",
        "channel ts",
        "oldest latest limit inclusive cursor include_all_metadata",
    ),
    "chat.postMessage": (
        "chat:write",
        "channel",
        "text blocks thread_ts reply_broadcast username icon_url metadata mrkdwn parse link_names",
    ),
    "chat.update": ("chat:write", "channel ts", "text blocks parse link_names"),
    "chat.delete": ("chat:write", "channel ts", ""),
    "reactions.add": ("reactions:write", "channel timestamp name", ""),
    "reactions.remove": ("reactions:write", "channel timestamp name", ""),
    "files.getUploadURLExternal": ("files:write", "filename length", ""),
    "files.completeUploadExternal": ("files:write", "files", "channel_id thread_ts initial_comment"),
    "files.info": ("files:read", "file", ""),
}
"""Method → the scope it needs, what must be given, what may be given."""
STRUCTURED = ("blocks", "metadata", "files")
TEXT_MAX = 40_000
BLOCKS_MAX_CHARS = 12_000
_INLINE: dict[str, tuple[set[str], set[str]]] = {
    "text": ({"text"}, set()),
    "link": ({"url"}, {"text", "unsafe"}),
    "user": ({"user_id"}, set()),
    "channel": ({"channel_id"}, set()),
    "usergroup": ({"usergroup_id"}, set()),
    "broadcast": ({"range"}, set()),
    "emoji": ({"name"}, {"unicode", "skin_tone"}),
    "date": ({"timestamp", "format"}, {"fallback", "url", "timezone"}),
}
_STYLES = {"bold", "italic", "strike", "code", "underline"}
_LINES = {"rich_text_section": set(), "rich_text_quote": {"border"}, "rich_text_preformatted": {"border"}}


class SlackError(Exception):
    """``ok: false``."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.answer = {"ok": False, "error": error} | more


def checked(method: str, params: Raw) -> Raw:
    """The arguments, with structured ones read; refuses what the method does not have."""
    _, needed, optional = METHODS[method]
    for name in needed.split():
        if name not in params:
            raise SlackError("invalid_arguments", response_metadata={"messages": [f"missing {name}"]})
    for name in params.keys() - {*needed.split(), *optional.split()}:
        raise SlackError("invalid_arguments", response_metadata={"messages": [f"unknown {name}"]})
    found = dict(params)
    for name in STRUCTURED:
        if isinstance(found.get(name), str):
            try:
                found[name] = json.loads(found[name])
            except ValueError:
                raise SlackError("invalid_arguments" if name != "blocks" else "invalid_blocks_format") from None
    return found


def check_words(params: Raw) -> None:
    """Text and blocks as a post may have them."""
    text, blocks = params.get("text", ""), params.get("blocks")
    if len(text) > TEXT_MAX:
        raise SlackError("msg_too_long")
    if re.search(r"<(?!https?:|mailto:|@|#|!)|&(?!amp;|lt;|gt;)", text):
        raise SlackError("invalid_text_of_the_double")
    if blocks is None:
        if not text.strip():
            raise SlackError("no_text")
        return
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 50:
        raise SlackError("invalid_blocks")
    if sum(map(_check_block, blocks)) > BLOCKS_MAX_CHARS:
        raise SlackError("msg_blocks_too_long")
    metadata = params.get("metadata")
    if metadata is not None and not re.fullmatch(r"\w+", metadata["event_type"]):
        raise SlackError("invalid_metadata_format")


def _check_block(block: Raw) -> int:
    if block.get("type") != "rich_text" or not block.get("elements") or block.keys() - {"type", "elements", "block_id"}:
        raise SlackError("invalid_blocks")
    return sum(map(_check_line, block["elements"]))


def _check_line(line: Raw) -> int:
    more = _LINES.get(line.get("type", ""))
    if more is None or not line.get("elements") or line.keys() - {"type", "elements"} - more:
        raise SlackError("invalid_blocks")
    is_pre = line["type"] == "rich_text_preformatted"
    return sum(_check_element(element, is_pre=is_pre) for element in line["elements"])


def _check_element(element: Raw, *, is_pre: bool) -> int:
    kind = element.get("type", "")
    if kind not in _INLINE or (is_pre and kind not in ("text", "link")):
        raise SlackError("invalid_blocks")
    needed, optional = _INLINE[kind]
    style = element.get("style", {})
    if needed - element.keys() or element.keys() - needed - optional - {"type", "style"}:
        raise SlackError("invalid_blocks")
    if not isinstance(style, dict) or style.keys() - _STYLES or ("style" in element and is_pre):
        raise SlackError("invalid_blocks")
    if kind == "text" and not (isinstance(element["text"], str) and element["text"]):
        raise SlackError("invalid_blocks")
    if kind == "date" and not isinstance(element["timestamp"], int):
        raise SlackError("invalid_blocks")
    return len(str(element.get("text", "")))
