"""What the Google Chat double is made of: spaces, errors as Google writes them, and things that go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

BOT = "https://www.googleapis.com/auth/chat.bot"
PUBSUB = "https://www.googleapis.com/auth/pubsub"
READ = "https://www.googleapis.com/auth/chat.app.messages.readonly"
CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class Failure(Exception):
    """An answer of Google's that is an error."""

    def __init__(self, status: int, words: str, facts: dict[str, str] | None = None, reason: str = "") -> None:
        super().__init__(words)
        self.status, self.words, self.facts, self.reason = status, words, facts or {}, reason

    def response(self) -> web.Response:
        """As google.rpc.Status in JSON."""
        error: dict[str, Any] = {"code": self.status, "message": self.words, "status": CODES[self.status]}
        if self.facts or self.reason:
            info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": self.reason, "metadata": self.facts}
            error["details"] = [info]
        return web.json_response({"error": error}, status=self.status)


@dataclass
class Fault:
    """Something goes wrong once, with the next request to a path that holds ``path``."""

    path: str
    method: str = "POST"
    answer: Failure | None = None
    cut: str = ""
    """``before``: the connection ends and nothing was done; ``after``: it was done, and no answer comes."""
    delay_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Space:
    """A space: who is in it, and what was said."""

    id: str
    title: str = ""
    kind: str = "SPACE"
    threading: str = "THREADED_MESSAGES"
    members: dict[str, str] = field(default_factory=dict)
    """User → role."""
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    has_app: bool = False
    writes_s: list[float] = field(default_factory=list)
    history: str = "HISTORY_ON"

    def resource(self) -> dict[str, Any]:
        """As the API shows it."""
        older = {"SPACE": "ROOM", "GROUP_CHAT": "ROOM", "DIRECT_MESSAGE": "DM"}[self.kind]
        shown: dict[str, Any] = {
            "name": f"spaces/{self.id}",
            "type": older,
            "spaceType": self.kind,
            "spaceThreadingState": self.threading,
            "spaceHistoryState": self.history,
        }
        if self.title:
            shown["displayName"] = self.title
        if self.kind == "DIRECT_MESSAGE":
            shown["singleUserBotDm"] = True
        return shown
