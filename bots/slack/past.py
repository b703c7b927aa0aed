"""What was said while we were away (docs.slack.dev/reference/methods/conversations.history)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from bots.slack.api import Api
from bots.slack.intake import Intake
from bots.slack.receive import TS
from core.contract import Offline, Remembered, Retry, Since

PAGE: Final = 200
PAGES: Final = 20
THREADS: Final = 50
WAITS: Final = 3


class Past:
    """Reads one account's channels."""

    def __init__(self, api: Api, intake: Intake) -> None:
        self._api = api
        self._intake = intake

    async def since(self, channel: str, since: Since) -> Remembered:
        """Everything after ``since``, with the answers in threads that hang on any of it. Slack hands out the newest
        page first, so all is read before anything is given. Raises any AdapterError."""
        oldest = since.native if TS.fullmatch(since.native) else f"{since.at_ms / 1000:.6f}"
        messages, complete = await self._pages("conversations.history", channel, oldest)
        found = {str(raw["ts"]): raw for raw in messages}
        active = [raw for raw in messages if raw.get("reply_count")]
        for raw in active[:THREADS]:
            answers, whole = await self._pages("conversations.replies", channel, oldest, ts=raw["ts"])
            complete = complete and whole
            found |= {str(answer["ts"]): answer for answer in answers if str(answer["ts"]) not in found}
        events = [await self._intake.said(found[ts], channel) for ts in sorted(found, key=_order)]
        return Remembered(
            tuple(event for event in events if event is not None),
            complete=complete and len(active) <= THREADS,
        )

    async def _pages(self, method: str, channel: str, oldest: str, **more: Any) -> tuple[list[dict[str, Any]], bool]:
        found: list[dict[str, Any]] = []
        cursor = ""
        for _ in range(PAGES):
            # Whoever asks for a room's first page may be told to come again; later all would be read anew.
            ask = self._patiently if cursor or more else self._api.ask
            page = await ask(
                method, channel=channel, oldest=oldest, limit=PAGE, inclusive=False, cursor=cursor or None, **more
            )
            found += [
                raw
                for raw in page.get("messages") or ()
                if isinstance(raw, dict) and TS.fullmatch(str(raw.get("ts"))) and _order(raw["ts"]) > _order(oldest)
            ]
            cursor = str((page.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                return found, not page.get("is_limited")
        return found, False

    async def _patiently(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, and wait where Slack says so (docs.slack.dev/apis/web-api/rate-limits: some fifty a minute here)."""
        for _ in range(WAITS):
            try:
                return await self._api.ask(method, **params)
            except Offline:
                raise
            except Retry as error:
                await asyncio.sleep(error.after_s)
        return await self._api.ask(method, **params)


def _order(ts: str) -> tuple[int, str]:
    seconds, _, rest = ts.partition(".")
    return int(seconds), rest.ljust(9, "0")
