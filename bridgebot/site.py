"""Fits the portal to the rest: its protocols over the directory, the codes and the adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bots.emit import AccountEmit
from bots.host import Adapters
from bots.registry import platform as find_platform
from core.contract import Emit
from core.directory import NoAnswer
from core.model import AccountId, RoomId
from core.store import StoreDown
from portal.deps import Account, Actor, GuestRooms, PortalDeps

if TYPE_CHECKING:
    from bridgebot.roles import Node


class _Pairing:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def issue_code(self, room_id: RoomId, by: str) -> str:
        """A fresh code for the room."""
        issued = await self._node.deps.codes.issue(room_id, by=by)
        return issued.code


class _Act:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def __call__(self, room_id: RoomId, by: Actor, name: str, argument: str) -> str:
        """Give a command and return its reply."""
        is_admin = await self._node.is_admin(room_id, by.person)
        try:
            return await self._node.directory.act(room_id, by.person, by.name, name, argument, is_admin)
        except (NoAnswer, StoreDown) as error:
            return str(error)


async def portal_deps(node: Node) -> PortalDeps:
    """What the portal works with, for the accounts there are now."""
    # Adapters of the portal's own, never started: those that the host runs come and go with their leases.
    made = await Adapters(node.deps, node.source, find_platform).all()
    accounts = [Account(adapter.account, platform.title, adapter) for adapter, platform in made]
    platforms = {adapter.account: (adapter, platform) for adapter, platform in made}
    emits: dict[AccountId, AccountEmit] = {}

    def emit_for(account: AccountId) -> Emit:
        if account not in emits:
            emits[account] = AccountEmit(*platforms[account], node.deps)
        return emits[account]

    return PortalDeps(
        settings=node.settings,
        store=node.deps.store,
        links=node.deps.links,
        directory=node.directory,  # type: ignore[arg-type]  # narrower: frozen structs with these fields
        act=_Act(node),
        pairing=_Pairing(node),
        may_manage=node.may_manage,
        accounts=accounts,
        emit_for=emit_for,
        health=node.health,
        metrics=node.metrics_text,
        now_ms=node.deps.now_ms,
        random_id=node.deps.random_id,
        guest_rooms=next((adapter for adapter, _ in made if isinstance(adapter, GuestRooms)), None),
        metrics_token=node.settings.metrics_token,
    )
