"""A chat service in memory that can do everything the contract knows: the reference for adapters, and the double
that tests of the core post to. Copy this folder to begin a new platform.
"""

from __future__ import annotations

from bots.loopback.adapter import FULL, Loopback, LoopbackConfig
from bots.loopback.network import LoopbackNetwork
from core.contract import Hears, Platform, Services
from core.model import AccountId, PlatformId

HEARS = Hears(
    edit="full",
    delete="full",
    reply="full",
    thread="full",
    reaction="full",
    file="full",
    typing="full",
    history="full",
    entities=FULL.entities,
)


def make_platform(network: LoopbackNetwork, *, redelivers: bool = True) -> Platform:
    """The platform ``loopback``, all of whose accounts are on one ``network``."""

    def create(account: AccountId, config: LoopbackConfig, services: Services) -> Loopback:
        return Loopback(account, config, services, network)

    return Platform(
        id=PlatformId("loopback"),
        title="Loopback",
        config=LoopbackConfig,
        create=create,
        from_target=from_target,
        target_help="any name",
        redelivers=redelivers,
        slash=True,
        hears=HEARS,
    )


def from_target(target: str) -> tuple[str, LoopbackConfig]:
    """An account called ``target``."""
    if not target.isalnum():
        raise ValueError("Write a name of letters and digits, for example: demo")
    return f"loopback-{target.lower()}", LoopbackConfig()


PLATFORM = make_platform(LoopbackNetwork())
