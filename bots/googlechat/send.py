"""Posting, changing and deleting: ``spaces.messages`` create, patch and delete.

Every part of a post has ids made from the post's key: with ``requestId`` Google takes it once however often it is
tried, and by ``messageId`` we know our own posts again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import structlog

from bots.googlechat import receive
from bots.googlechat.api import Api, Json, Refused
from bots.googlechat.memory import Memory
from bots.googlechat.receive import MARKER
from bots.googlechat.text import html_weight, markdown_weight, safe, to_html, to_markdown
from core.contract import Outbound, Receipt, Rejected
from core.model import NativeId, Text, native_room
from core.text.ops import concat, slice_text
from core.text.split import split_by

log = structlog.get_logger()
MORE: Final = " … (cut)"
SYNTAX: Final = "MARKUP_SYNTAX_MARKDOWN"
QUOTE_REFUSED: Final = frozenset({400, 403, 404})


def own_id(key: str, number: int, room: str) -> str:
    """The id that we give to part ``number`` of a post: ``client-``, then lower-case letters, digits, hyphens, at most
    63 in all (spaces.messages.create, messageId)."""
    return f"{MARKER}{hashlib.sha256(f'{room} {key} {number}'.encode()).hexdigest()[:48]}"


def parts_of(text: Text, limit_bytes: int, max_parts: int, *, cards: bool = False) -> list[Text]:
    """``text`` in at most ``max_parts`` parts, each of ``limit_bytes`` as it is sent; the last says if it is cut."""
    weight = html_weight if cards else markdown_weight
    text = safe(slice_text(text, 0, limit_bytes * (max_parts + 1)))
    parts = split_by(text, limit_bytes, weight)
    if len(parts) > max_parts:
        last = split_by(parts[max_parts - 1], limit_bytes - 40, weight)[0]
        parts = [*parts[: max_parts - 1], concat(last, Text(MORE))]
    return parts


class Sender:
    """Of one account."""

    def __init__(self, api: Api, memory: Memory) -> None:
        self._api = api
        self._memory = memory
        self._config = api.config

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it. Raises any AdapterError; another try with the same key posts nothing twice."""
        space = native_room(outbound.room)
        parts = self._parts(outbound)
        return Receipt(tuple([await self._post(outbound, space, number, part) for number, part in enumerate(parts)]))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change what stands, take away what is too much, post what is missing."""
        space = native_room(outbound.room)
        parts = self._parts(outbound)
        standing: list[NativeId] = []
        for number, part in enumerate(parts):
            if number < len(natives):
                await self._change(space, natives[number], outbound, part)
                standing.append(natives[number])
            else:
                standing.append(await self._post(outbound, space, number, part, after=natives[0]))
        await self.delete(space, natives[len(parts) :])
        return Receipt(tuple(standing))

    async def delete(self, space: str, natives: Sequence[NativeId]) -> None:
        """Take posts away; those that are gone already are no error."""
        for native in natives:
            await self._memory.deleting(space, native)
            try:
                await self._api.chat("DELETE", f"spaces/{space}/messages/{native}")
            except Refused as error:
                if error.status != 404:
                    raise

    # --- one post ---

    def _parts(self, outbound: Outbound) -> list[Text]:
        limit, cards = self._config.text_limit_bytes, self._as_card(outbound)
        parts = parts_of(outbound.text, limit, outbound.max_parts, cards=cards)
        kept = [part for part in parts if part.plain.strip()]
        if not kept:
            raise Rejected("there is nothing in the message that Google Chat could show")
        return kept

    def _as_card(self, outbound: Outbound) -> bool:
        return self._config.cards and outbound.author is not None

    def _content(self, outbound: Outbound, part: Text) -> Json:
        author = outbound.author
        if author is None or not self._config.cards:
            return {"text": to_markdown(part), "markupSyntax": SYNTAX}
        header = {"title": author.name}
        if author.avatar_url.startswith("https://"):
            header |= {"imageUrl": author.avatar_url, "imageType": "CIRCLE"}
        paragraph = {"textParagraph": {"text": to_html(part)}}
        card = {"header": header, "sections": [{"widgets": [paragraph]}]}
        fallback = f"{author.name}: {part.plain[:200]}"
        return {"cardsV2": [{"cardId": "post", "card": card}], "fallbackText": fallback}

    async def _post(
        self, outbound: Outbound, space: str, number: int, part: Text, after: NativeId | None = None
    ) -> NativeId:
        body = self._content(outbound, part)
        thread = await self._thread(space, outbound.thread or after)
        if outbound.reply_to and number == 0:
            body |= await self._quote(space, outbound.reply_to, thread)
            thread = thread or body.pop("_thread", "")
        body.pop("_thread", None)
        params = {"requestId": own_id(outbound.key, number, space), "messageId": own_id(outbound.key, number, space)}
        if thread:
            body["thread"] = {"name": f"spaces/{space}/threads/{thread}"}
            params["messageReplyOption"] = "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"
        made = await self._create(space, params, body)
        place = receive.message_place(made.get("name"))
        if place is None or place[0] != space:
            raise Rejected("Google Chat answers with a message of another space")
        sender = made.get("sender")
        if isinstance(sender, dict) and str(sender.get("name", "")).startswith("users/") and not self._memory.me:
            await self._memory.learn_me(str(sender["name"]))
        return place[1]

    async def _create(self, space: str, params: dict[str, str], body: Json) -> Json:
        path = f"spaces/{space}/messages"
        try:
            return await self._api.chat("POST", path, params=params, body=body)
        except Refused as error:
            if error.status == 409:
                # It stands there already, and Google has forgotten by which request.
                return await self._api.chat("GET", f"{path}/{params['messageId']}")
            if "quotedMessageMetadata" not in body or error.status not in QUOTE_REFUSED:
                raise
            log.info("google takes no quote", reason=error.reason)
        bare = {name: value for name, value in body.items() if name != "quotedMessageMetadata"}
        return await self._api.chat("POST", path, params=params, body=bare)

    async def _change(self, space: str, native: NativeId, outbound: Outbound, part: Text) -> None:
        body = self._content(outbound, part)
        # Without its syntax beside it the text is taken as Chat's own, but the mask may not name it.
        mask = "cardsV2" if "cardsV2" in body else "text"
        await self._api.chat("PATCH", f"spaces/{space}/messages/{native}", params={"updateMask": mask}, body=body)

    # --- threads and quotes ---

    async def _thread(self, space: str, native: NativeId | None) -> str:
        """The id of the thread that a message is in; empty where it cannot be found."""
        if not native or not self._has_threads(space):
            return ""
        if known := receive.thread_of(native):
            return known
        name = (await self._message(space, native)).get("thread", {}).get("name", "")
        return str(name).rpartition("/")[2]

    def _has_threads(self, space: str) -> bool:
        known = self._memory.spaces.get(space)
        return known is None or known.threads

    async def _quote(self, space: str, native: NativeId, thread: str) -> Json:
        """What makes a post answer a message. Google wants to know of which version of it we speak; a message in a
        thread can be quoted in that thread only (QuotedMessageMetadata)."""
        quoted = await self._message(space, native)
        version = quoted.get("lastUpdateTime") or quoted.get("createTime")
        if not version:
            return {}
        where = receive.thread_of(native)
        in_thread = where if quoted.get("threadReply") else ""
        if thread and where and thread != where:
            return {}
        metadata = {"name": f"spaces/{space}/messages/{native}", "lastUpdateTime": version, "quoteType": "REPLY"}
        return {"quotedMessageMetadata": metadata, "_thread": in_thread}

    async def _message(self, space: str, native: NativeId) -> Json:
        try:
            return await self._api.read(f"spaces/{space}/messages/{native}")
        except Refused as error:
            log.info("a message cannot be read", space=space, reason=error.reason)
            return {}
