"""The Workspace Events API and Pub/Sub of the Google Chat double."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.fakes.googlechat_model import PUBSUB, READ, Failure, Space

SUBSCRIBABLE = re.compile(
    r"google\.workspace\.chat\.(message\.v1\.(created|updated|deleted)|reaction\.v1\.(created|deleted)"
    r"|membership\.v1\.(created|updated|deleted)|space\.v1\.(updated|deleted))"
)


class Events:
    """The part of the double that tells of what happened. The rest is in :mod:`tests.fakes.googlechat`."""

    topic = "projects/garden/topics/chat"
    subscription = "projects/garden/subscriptions/bridge"
    spaces: dict[str, Space]
    subscriptions: dict[str, dict[str, Any]]
    queue: list[dict[str, Any]]
    leased: dict[str, dict[str, Any]]
    news: asyncio.Event
    poll_s: float
    _clock: Callable[[], float]
    _ticks: Iterator[int]
    _authorise: Callable[..., None]
    _body: Any
    stamp: Callable[[], str]
    changed: Callable[[], None]
    shown: Callable[..., dict[str, Any]]

    async def _subscribe(self, request: web.Request) -> web.Response:
        self._authorise(request, READ)
        fields = {"targetResource", "eventTypes", "notificationEndpoint", "payloadOptions", "ttl"}
        body = await self._body(request, fields)
        space = self.spaces.get(str(body["targetResource"]).removeprefix("//chat.googleapis.com/spaces/"))
        if space is None or not space.has_app:
            raise Failure(403, "The app is not a member of the target resource.")
        if body["notificationEndpoint"] != {"pubsubTopic": self.topic}:
            raise Failure(400, "The topic does not exist.")
        if not body["eventTypes"] or not all(SUBSCRIBABLE.fullmatch(kind) for kind in body["eventTypes"]):
            raise Failure(400, "Unknown event type.")
        for standing in self.subscriptions.values():
            if standing["targetResource"] == body["targetResource"]:
                facts = {"current_subscription": standing["name"]}
                raise Failure(409, "A subscription exists already.", facts, "SUBSCRIPTION_ALREADY_EXISTS")
        name = f"subscriptions/chat-spaces-{secrets.token_hex(6)}"
        made = self.subscriptions[name] = {**body, "name": name, "state": "ACTIVE"}
        self._extend(made)
        self.changed()
        return _operation(made)

    def _extend(self, subscription: dict[str, Any]) -> None:
        hours = 4 if subscription["payloadOptions"].get("includeResource") else 168
        ends = datetime.fromtimestamp(self._clock() + hours * 3600, UTC)
        subscription["expireTime"] = ends.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _subscription(self, request: web.Request) -> dict[str, Any]:
        self._authorise(request, READ)
        found = self.subscriptions.get(f"subscriptions/{request.match_info['id']}")
        if found is None:
            raise Failure(404, "Subscription not found.")
        return found

    async def _renew(self, request: web.Request) -> web.Response:
        found = self._subscription(request)
        if request.query.get("updateMask") != "ttl" or await self._body(request, {"ttl"}) != {"ttl": "0s"}:
            raise Failure(400, "Invalid update.")
        self._extend(found)
        self.changed()
        return _operation(found)

    async def _reactivate(self, request: web.Request) -> web.Response:
        found = self._subscription(request)
        found["state"] = "ACTIVE"
        self.changed()
        return _operation(found)

    async def _unsubscribe(self, request: web.Request) -> web.Response:
        del self.subscriptions[self._subscription(request)["name"]]
        self.changed()
        return web.json_response({"done": True, "response": {}})

    def happened(self, space: Space, kind: str, what: str, resource: dict[str, Any]) -> None:
        """Something happened in a space: who subscribed to it is told."""
        kind = f"google.workspace.chat.{kind}"
        subject = f"//chat.googleapis.com/spaces/{space.id}"
        for standing in self.subscriptions.values():
            meant = standing["targetResource"] == subject and standing["state"] == "ACTIVE"
            if meant and kind in standing["eventTypes"]:
                self.publish(kind, subject, self.payload(standing, what, resource))

    def payload(self, standing: dict[str, Any], what: str, resource: dict[str, Any]) -> dict[str, Any]:
        """The data of an event about a resource."""
        if not standing["payloadOptions"].get("includeResource"):
            return {what: {"name": resource["name"]}}
        if what == "message" and "sender" in resource:
            space = self.spaces[resource["name"].split("/")[1]]
            return {what: self.shown(space, resource, full=False)}
        return {what: resource}

    def publish(self, kind: str, subject: str, data: Any) -> None:
        """Put a CloudEvent on the topic."""
        stamp = self.stamp()
        attributes = {
            "ce-id": secrets.token_hex(8),
            "ce-source": subject,
            "ce-subject": subject,
            "ce-specversion": "1.0",
            "ce-time": stamp,
            "ce-type": kind,
            "ce-datacontenttype": "application/json",
        }
        message = {
            "data": base64.b64encode(json.dumps(data).encode()).decode(),
            "attributes": attributes,
            "messageId": str(next(self._ticks)),
            "publishTime": stamp,
        }
        self.queue.append(message)
        self.changed()

    # --- Pub/Sub ---

    async def _get_subscription(self, request: web.Request) -> web.Response:
        self._authorise(request, PUBSUB)
        self._named(request)
        return web.json_response({"name": self.subscription, "topic": self.topic, "state": "ACTIVE"})

    def _named(self, request: web.Request) -> None:
        if f"projects/{request.match_info['project']}/subscriptions/{request.match_info['name']}" != self.subscription:
            raise Failure(404, "Resource not found (resource=subscription).")

    async def _pubsub(self, request: web.Request) -> web.Response:
        self._authorise(request, PUBSUB)
        self._named(request)
        verb = request.path.rpartition(":")[2]
        if verb == "pull":
            return await self._pull(await self._body(request, {"maxMessages", "returnImmediately"}))
        body = await self._body(request, {"ackIds"} | ({"ackDeadlineSeconds"} if verb != "acknowledge" else set()))
        for ack in body["ackIds"]:
            message = self.leased.pop(ack, None)
            if message and verb == "modifyAckDeadline" and body["ackDeadlineSeconds"] == 0:
                self.queue.insert(0, message)
        self.changed()
        return web.json_response({})

    async def _pull(self, body: dict[str, Any]) -> web.Response:
        deadline_s = time.monotonic() + self.poll_s
        while not self.queue and (left_s := min(deadline_s - time.monotonic(), self.poll_s)) > 0:
            waiting = self.news
            try:
                async with asyncio.timeout(left_s):
                    await waiting.wait()
            except TimeoutError:
                break
        taken, self.queue = self.queue[: body["maxMessages"]], self.queue[body["maxMessages"] :]
        received = []
        for message in taken:
            ack = secrets.token_hex(8)
            self.leased[ack] = message
            received.append({"ackId": ack, "message": message})
        return web.json_response({"receivedMessages": received} if received else {})

    def redeliver(self) -> None:
        """The time of what was pulled and not confirmed is over."""
        self.queue = [*self.leased.values(), *self.queue]
        self.leased.clear()
        self.changed()


def _operation(made: dict[str, Any]) -> web.Response:
    response = {"@type": "type.googleapis.com/google.apps.events.subscriptions.v1.Subscription", **made}
    return web.json_response({"done": True, "response": response})
