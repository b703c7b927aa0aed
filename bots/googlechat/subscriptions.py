"""Every space's subscription to Workspace events: made when we come in, renewed before it ends, ended when we go."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, Final

import structlog

from bots.googlechat import receive
from bots.googlechat.api import Api, Refused
from bots.googlechat.memory import Memory, Subscription
from bots.googlechat.receive import Json, Space
from core.contract import AdapterError, Rejected, Services
from core.store import TRANSIENT, StoreDown

log = structlog.get_logger()
LIFECYCLE: Final = "google.workspace.events.subscription.v1."
LOOK_EVERY_S: Final = 1.0
RETRY_MS: Final = 60_000
REFUSED_RETRY_MS: Final = 600_000
LONGEST: Final = "0s"
"""As long as Google allows: 4 hours with the messages in the events, 7 days without (Subscription.ttl)."""
HINT: Final = (
    "I hear only messages that mention me, so begin with my name what other rooms shall read. "
    "Whoever runs this bridge can let me hear everything: `bridgebot doctor` says how."
)


class Upkeep:
    """Of one account, in the process that runs it."""

    def __init__(self, api: Api, memory: Memory, services: Services, gap: Callable[[], None]) -> None:
        self._api = api
        self._memory = memory
        self._now_ms = services.now_ms
        self._topic = api.config.pubsub_topic
        self._wake = asyncio.Event()
        self._retry_ms: dict[str, int] = {}
        self._gap = gap
        """Called when a subscription had to be made: what was said before came to nobody."""

    def changed(self) -> None:
        """Spaces came or went: look now."""
        self._wake.set()

    async def run(self) -> None:
        """Look after all spaces until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._memory.load()
                await self.look()
            except (AdapterError, StoreDown, *TRANSIENT) as error:
                log.warning("subscriptions wait", reason=str(error) or type(error).__name__)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Every space has a subscription, or was told what we do not hear. Raises any AdapterError."""
        made = 0
        for space in list(self._memory.spaces.values()):
            if not self._api.config.pubsub_subscription:
                await self._hint(space)
            elif self._is_due(space.id):
                made += await self._subscribe(space)
        if made:
            self._gap()
        for space_id in self._memory.subscriptions.keys() - self._memory.spaces.keys():
            await self._end(space_id)

    def _is_due(self, space_id: str) -> bool:
        known, now_ms = self._memory.subscriptions.get(space_id), self._now_ms()
        return (known is None or now_ms >= known.renew_ms) and now_ms >= self._retry_ms.get(space_id, 0)

    async def _subscribe(self, space: Space) -> bool:
        """Renew its subscription, or make one; was one made?"""
        known = self._memory.subscriptions.get(space.id)
        self._retry_ms[space.id] = self._now_ms() + RETRY_MS
        try:
            renewed = await self._renew(known.name) if known else None
            await self._keep(space.id, renewed or await self._create(space.id))
        except Rejected as error:
            log.warning("a space's events cannot be subscribed to", space=space.id, reason=error.reason)
            self._retry_ms[space.id] = self._now_ms() + REFUSED_RETRY_MS
            await self._memory.unsubscribed(space.id)
            await self._hint(space)
            return False
        self._retry_ms.pop(space.id, None)
        return renewed is None

    async def _keep(self, space_id: str, made: Json) -> None:
        now_ms = self._now_ms()
        ends_ms = receive.at_ms(made.get("expireTime")) or now_ms + 2 * RETRY_MS
        renew_ms = now_ms + max(ends_ms - now_ms, 0) // 2
        await self._memory.subscribed(space_id, Subscription(str(made.get("name", "")), renew_ms, ends_ms))

    async def _create(self, space_id: str) -> Json:
        """Raises any AdapterError. Where the app has a subscription already, that one is renewed."""
        config = self._api.config
        body = {
            "targetResource": f"//chat.googleapis.com/spaces/{space_id}",
            "eventTypes": list(config.event_types),
            "notificationEndpoint": {"pubsubTopic": await self._topic_name()},
            "payloadOptions": {"includeResource": config.include_resource},
            "ttl": LONGEST,
        }
        try:
            made = _result(await self._api.events("POST", "subscriptions", body=body))
        except Refused as error:
            standing = error.facts.get("current_subscription", "")
            if error.status != 409 or not standing.startswith("subscriptions/"):
                raise
            renewed = await self._renew(standing)
            if renewed is None:
                raise
            return renewed
        log.info("subscribed to a space", space=space_id)
        return made

    async def _renew(self, name: str) -> Json | None:
        """As long as possible from now; None where it is gone."""
        try:
            made = _result(await self._api.events("PATCH", name, params={"updateMask": "ttl"}, body={"ttl": LONGEST}))
            if made.get("state") == "SUSPENDED":
                made = _result(await self._api.events("POST", f"{name}:reactivate", body={})) or made
        except Refused as error:
            if error.status in (400, 404):
                return None
            raise
        return made

    async def _topic_name(self) -> str:
        """The topic that our Pub/Sub subscription reads."""
        if not self._topic:
            config = self._api.config
            url = f"{config.pubsub_url}/v1/{config.pubsub_subscription}"
            self._topic = str((await self._api.call("GET", url, config.pubsub_scopes)).get("topic", ""))
        return self._topic

    async def _end(self, space_id: str) -> None:
        gone = await self._memory.unsubscribed(space_id)
        if gone:
            try:
                await self._api.events("DELETE", gone.name)
            except AdapterError as error:
                log.debug("a subscription ends by itself", reason=str(error))

    async def _hint(self, space: Space) -> None:
        """Tell a space once that only mentions are heard there. In a direct message everything is."""
        if space.kind == "DIRECT_MESSAGE" or not await self._memory.hint_first(space.id):
            return
        digest = hashlib.sha256(f"hint {space.id}".encode()).hexdigest()[:32]
        own_id = f"{receive.MARKER}{digest}"
        try:
            await self._api.chat(
                "POST",
                f"spaces/{space.id}/messages",
                params={"requestId": own_id, "messageId": own_id},
                body={"text": HINT, "markupSyntax": "MARKUP_SYNTAX_MARKDOWN"},
            )
        except AdapterError as error:
            log.info("a space was not told what is not heard", space=space.id, reason=str(error))

    # --- what Google says of subscriptions ---

    async def lifecycle(self, what: str, data: Any) -> None:
        """A subscription is about to end, has ended, or was suspended. Raises the store's errors."""
        found = data.get("subscription") if isinstance(data, dict) else None
        name = str(found.get("name", "")) if isinstance(found, dict) else ""
        space_id = next((space for space, known in self._memory.subscriptions.items() if known.name == name), "")
        if not space_id:
            return
        log.info("a subscription changed", space=space_id, what=what)
        if what == "expired":
            await self._memory.unsubscribed(space_id)
        elif what in ("expirationReminder", "suspended"):
            known = self._memory.subscriptions[space_id]
            ends_ms = 0 if what == "suspended" else known.ends_ms
            await self._memory.subscribed(space_id, Subscription(name, 0, ends_ms))
        self._retry_ms.pop(space_id, None)
        self._wake.set()


def _result(operation: Json) -> Json:
    """The subscription that a long-running operation has made; Google answers when it is done."""
    response = operation.get("response")
    return response if isinstance(response, dict) else operation
