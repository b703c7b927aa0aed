"""Configurations at rest: every field that is annotated as :data:`core.contract.Secret`, at any depth, is encrypted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from core.secrets import seal, unseal

_SEALED = "$sealed"

Config = TypeVar("Config")
Change = Callable[[str, str], Any]
"""``change(where, secret)``: what takes the place of a secret."""


class Sealing:
    """Closes and opens configurations with one secret key. ``on_secret`` is told every secret, so that logs can hide
    it; ``where``: what a secret opens for, and nothing else.
    """

    def __init__(self, secret_key: str, on_secret: Callable[[str], None]) -> None:
        self._secret_key = secret_key
        self._on_secret = on_secret

    def closed(self, config: msgspec.Struct, where: str) -> dict[str, Any]:
        """The configuration as it is stored."""
        fields: dict[str, Any] = _seal(msgspec.to_builtins(config), inspect.type_info(type(config)), where, self._close)
        return fields

    def opened(self, fields: dict[str, Any], where: str, config_type: type[Config]) -> Config:
        """What :meth:`closed` was given. Raises SealBroken, msgspec.ValidationError."""
        return msgspec.convert(_unseal(fields, where, self._open), config_type)

    def _close(self, where: str, secret: str) -> Any:
        self._on_secret(secret)
        # An empty secret is none, and nothing has to be loaded to keep it.
        return {_SEALED: seal(self._secret_key, where, secret)} if secret else ""

    def _open(self, where: str, sealed: str) -> str:
        secret = unseal(self._secret_key, where, sealed)
        self._on_secret(secret)
        return secret


def _seal(value: Any, kind: inspect.Type, where: str, change: Change) -> Any:
    """``value`` (builtins of type ``kind``) with every secret in it changed."""
    if isinstance(kind, inspect.Metadata):
        if isinstance(value, str) and (kind.extra or {}).get("secret"):
            return change(where, value)
        return _seal(value, kind.type, where, change)
    if isinstance(kind, inspect.UnionType):
        for option in kind.types:
            value = _seal(value, option, where, change)
        return value
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        kinds = {field.encode_name: field.type for field in kind.fields}
        return {
            name: _seal(item, kinds[name], f"{where}.{name}", change) if name in kinds else item
            for name, item in value.items()
        }
    if isinstance(kind, inspect.DictType) and isinstance(value, dict):
        return {name: _seal(item, kind.value_type, f"{where}.{name}", change) for name, item in value.items()}
    if isinstance(kind, inspect.CollectionType | inspect.VarTupleType) and isinstance(value, list | tuple):
        return [_seal(item, kind.item_type, f"{where}.{at}", change) for at, item in enumerate(value)]
    return value


def _unseal(value: Any, where: str, change: Callable[[str, str], str]) -> Any:
    """The inverse of :func:`_seal`. Goes by the record and not by the type, which may have changed since."""
    if isinstance(value, dict):
        if value.keys() == {_SEALED}:
            return change(where, value[_SEALED])
        return {name: _unseal(item, f"{where}.{name}", change) for name, item in value.items()}
    if isinstance(value, list):
        return [_unseal(item, f"{where}.{at}", change) for at, item in enumerate(value)]
    return value
