"""From what an operator types to an account's configuration."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bots import registry
from core.accounts import AccountError
from core.contract import Platform


def from_target(platform: Platform, target: str) -> tuple[str, Any]:
    """A suggested account id and the configuration for ``target``. Raises AccountError."""
    try:
        return platform.from_target(target)
    except (ValueError, msgspec.ValidationError) as error:
        raise AccountError(f"--{platform.id} {target!r} cannot be used: {error}") from None


def from_json(platform: Platform, text: str) -> tuple[str, Any]:
    """The same for a configuration written as JSON, which may hold secrets. Raises AccountError."""
    try:
        return str(platform.id), msgspec.convert(json.loads(text), platform.config, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        names = ", ".join(field.name for field in msgspec.structs.fields(platform.config))
        raise AccountError(f"This is no configuration for {platform.id}: {error}. Its fields are: {names}.") from None


def parse(targets: dict[str, tuple[str, ...]]) -> list[tuple[Platform, str, Any]]:
    """All ``platform name → targets`` of a command line: platform, suggested id, configuration. Raises AccountError."""
    return [
        (platform, *from_target(platform, target))
        for name, given in targets.items()
        if given
        for platform in [registry.platform(name)]
        for target in given
    ]
