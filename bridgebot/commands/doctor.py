"""``bridgebot doctor``: what is configured, what works, and how to mend what does not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import click
import msgspec

from bots.registry import UnknownPlatform
from bridgebot import given, process
from bridgebot.commands import checks, company
from core.accounts import AccountError, Accounts
from core.apps import Apps
from core.contract import AdapterError, Finding
from core.deps import wall_clock_ms
from core.embedded import EmbeddedStoreError
from core.logs import HIDDEN, Redactor
from core.secrets import SecretKeyError, accept_key, check_key
from core.settings import SECRET_FIELDS, Settings, describe
from core.store import TRANSIENT, Redis, StoreUrlError, open_store

_LOCAL = ("127.", "localhost", "::1")


@click.command()
@click.option(
    "--accept-new-key",
    is_flag=True,
    help="Go on with a new SECRET_KEY where the old one is lost. Links, codes and sealed secrets of before are void.",
)
@process.data_option
def doctor(accept_new_key: bool, data_dir: str | None) -> None:
    """Say what is configured, what works, and how to mend the rest. Exit code 1 when something is wrong."""
    redactor = Redactor()
    settings = process.load(redactor, data_dir=data_dir)
    _print_settings(settings)
    bad = process.run_async(_examine(settings, redactor, accept_new_key))
    if bad:
        process.say(f"\n{bad} thing{'s' if bad > 1 else ''} to mend.")
        raise click.exceptions.Exit(1)
    process.say("\nAll is well.")


def _print_settings(settings: Settings) -> None:
    process.say("Settings (each is an environment variable, BRIDGEBOT_<NAME>; * is not the default)")
    defaults = Settings()
    for field in msgspec.structs.fields(Settings):
        value = getattr(settings, field.name)
        mark = "*" if value != getattr(defaults, field.name) else " "
        process.say(f" {mark} {field.name.upper():24} {_shown(field.name, value):28} {describe(field.name)}")


def _shown(name: str, value: object) -> str:
    if name == "redis_url":
        return process.hide_password(str(value)) or "-"
    if value and (name in SECRET_FIELDS or name.endswith(("_token", "_key"))):
        return HIDDEN
    return str(value) if value != "" else "-"


async def _examine(settings: Settings, redactor: Redactor, accept_new_key: bool) -> int:
    """Print every finding; returns how many are bad."""
    process.say("\nFindings")
    bad = 0
    async for finding in _findings(settings, redactor, accept_new_key):
        bad += not finding.ok
        checks.show(finding, redactor)
    return bad


async def _findings(settings: Settings, redactor: Redactor, accept_new_key: bool) -> AsyncIterator[Finding]:
    yield _web(settings)
    for finding in await company.findings(settings):
        yield finding
    try:
        async with process.visited_store(settings) as opened:
            redactor.add(opened.secret_key)
            store = open_store(opened.redis_url, max_connections=4)
            try:
                async for finding in _store_findings(store, embedded=not settings.redis_url):
                    yield finding
                yield await _key(store, opened.secret_key, accept_new_key)
                accounts = Accounts(store, opened.secret_key, wall_clock_ms, redactor.add)
                apps = Apps(store, opened.secret_key, redactor.add)
                async for finding in _account_findings(process.Visit(opened, store, accounts, apps)):
                    yield finding
            finally:
                await store.aclose()
    except (EmbeddedStoreError, SecretKeyError, StoreUrlError, click.ClickException) as error:
        yield Finding(False, f"store: {error}")


def _web(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        process.find_port(settings.host, settings.port, exactly=True)
    except click.ClickException as error:
        with socket.socket() as probe:
            if probe.connect_ex((settings.host, settings.port)) == 0:
                return Finding(True, f"web: somebody listens on {where} already, which is bridgebot if it runs now")
        return Finding(False, f"web: {error.message}")
    if not settings.public_url and not settings.host.startswith(_LOCAL):
        return Finding(
            False,
            f"web: reached from elsewhere on {where}, but links point to http://{where}",
            "Set BRIDGEBOT_PUBLIC_URL to the address that browsers use, like https://bridge.example.org.",
        )
    return Finding(True, f"web: {where} is free")


async def _store_findings(store: Redis, *, embedded: bool) -> AsyncIterator[Finding]:
    try:
        info: Any = await store.info()
    except TRANSIENT as error:
        yield Finding(False, f"store: does not answer ({error})", "Start it, or mend REDIS_URL.")
        return
    nodes = [info] if "redis_version" in info else list(info.values())
    kind = "embedded" if embedded else "shared"
    versions = ", ".join(sorted({str(node.get("valkey_version") or node["redis_version"]) for node in nodes}))
    yield Finding(True, f"store: {kind}, version {versions}, answers")
    if any(int(str(node["redis_version"]).split(".")[0]) < 7 for node in nodes):
        yield Finding(False, f"store: version {versions} is too old", "Use Redis 7.0, Valkey 7.2, or newer.")
    if all(int(node["aof_enabled"]) for node in nodes):
        yield Finding(True, "store: keeps an append-only file, so nothing that was accepted is lost by a crash")
    else:
        yield Finding(
            False,
            "store: keeps no append-only file, so a crash loses what was accepted",
            "Set `appendonly yes` in its configuration.",
        )
    if any(node.get("aof_last_write_status", "ok") != "ok" for node in nodes):
        yield Finding(False, "store: cannot write to its disk", "Make room on that disk; it goes on by itself.")
    policies = {str(node.get("maxmemory_policy", "unknown")) for node in nodes}
    if policies <= {"noeviction"}:
        yield Finding(True, "store: throws nothing away when memory is full (noeviction)")
    else:
        yield Finding(
            False,
            f"store: throws data away when memory is full ({', '.join(sorted(policies))})",
            "Set `maxmemory-policy noeviction` in its configuration.",
        )


async def _key(store: Redis, secret_key: str, accept_new_key: bool) -> Finding:
    try:
        if accept_new_key:
            await accept_key(store, secret_key)
            return Finding(True, "secret key: accepted as the new one")
        await check_key(store, secret_key)
    except SecretKeyError as error:
        what, _, mend = str(error).partition(". ")
        return Finding(False, f"secret key: {what}", mend)
    return Finding(True, "secret key: the one that this store knows")


async def _account_findings(visit: process.Visit) -> AsyncIterator[Finding]:
    found = await visit.accounts.list()
    if not found:
        yield Finding(True, "accounts: none yet", "Add one: bridgebot accounts add")
    # All at once, and told in order.
    looking = [asyncio.create_task(checks.look_at(account, visit)) for account in found]
    for one in looking:
        for finding in await one:
            yield finding
    for name in await visit.apps.names():
        yield await _app(visit, name)


async def _app(visit: process.Visit, name: str) -> Finding:
    """Does the service know the operator's app?"""
    try:
        found = await given.app_on(visit.apps, name)
        if found:
            await given.prepared(found[1], found[2], visit.settings.site_url)
    except (AccountError, AdapterError, UnknownPlatform) as error:
        return Finding(False, f"app on {name}: {error}", f"Give it again: bridgebot accounts app {name}")
    return Finding(True, f"app on {name}: the service knows it")
