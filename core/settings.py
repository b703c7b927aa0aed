"""Every setting: one home, one name, one line of documentation. Read from the environment, never global.

``BRIDGEBOT_<NAME>`` sets the field ``<name>``; the few names that hosting services set themselves
(``REDIS_URL``, ``SECRET_KEY``, ``PORT``) are read as well. ``bridgebot doctor`` prints this table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

Doc = msgspec.Meta


class SettingsError(ValueError):
    """A setting that cannot be used; the message says which, why, and what to write instead."""


def default_data_dir() -> str:
    """``$XDG_DATA_HOME/bridgebot``, by default ``~/.local/share/bridgebot``."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(base) / "bridgebot")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a process. Durations end in their unit."""

    data_dir: Annotated[str, Doc(description="Folder of the embedded store and the secret key")] = msgspec.field(
        default_factory=default_data_dir
    )
    redis_url: Annotated[str, Doc(description="Store shared by all processes; empty: the embedded one in data_dir")] = (
        ""
    )
    secret_key: Annotated[str, Doc(description="Signs links, keys hashes and encrypts tokens; 32+ characters")] = ""
    metrics_token: Annotated[
        str, Doc(description="Bearer token for /metrics from elsewhere; empty: this machine only")
    ] = ""
    host: Annotated[str, Doc(description="Address the web server listens on")] = "127.0.0.1"
    port: Annotated[int, Doc(description="Port the web server listens on", ge=0, le=65535)] = 8080
    public_url: Annotated[str, Doc(description="Where browsers reach the portal; empty: http://host:port")] = ""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Doc(description="Least severe log line")] = (
        "INFO"
    )
    log_format: Annotated[Literal["console", "json"], Doc(description="How log lines are written")] = "console"

    prefix: Annotated[str, Doc(description="Word of the chat commands, after the dash", min_length=2)] = "sameroom"
    connect: Annotated[
        Literal["members", "admins", "confirm"],
        Doc(description="Who may connect: members, admins only, or members with the opener's confirmation"),
    ] = "members"
    add_accounts: Annotated[
        Literal["nobody", "operator", "company", "members"],
        Doc(
            description="Who adds accounts in the portal: nobody, the operator (bridgebot portal-link), also whoever "
            "signs in with the company's account, or also whoever the bot knows from a room"
        ),
    ] = "operator"
    oidc_issuer: Annotated[
        str, Doc(description="Company sign-in to the portal: the OpenID Connect provider's issuer; empty: none")
    ] = ""
    oidc_client_id: Annotated[str, Doc(description="What the provider calls this bridge")] = ""
    oidc_client_secret: Annotated[str, Doc(description="The bridge's secret there; empty: it has none")] = ""
    oidc_scopes: Annotated[str, Doc(description="What the provider is asked for")] = "openid email profile"
    oidc_domains: Annotated[
        str, Doc(description="Domains of the verified e-mail addresses that may sign in (a, b); empty: all")
    ] = ""
    oidc_require: Annotated[
        str, Doc(description="Claim that whoever signs in must have, like groups=bridge; empty: none")
    ] = ""
    oidc_operator: Annotated[
        str, Doc(description="Claim that makes somebody the operator, like groups=admins; empty: nobody")
    ] = ""
    code_ttl_s: Annotated[int, Doc(description="Life of a code", ge=10)] = 120
    code_guesses_per_person: Annotated[int, Doc(description="Wrong codes a person may type in guess_window_s")] = 5
    code_guesses_per_room: Annotated[int, Doc(description="Wrong codes typed in a room in guess_window_s")] = 15
    code_guesses_overall: Annotated[int, Doc(description="Wrong codes typed anywhere in guess_window_s")] = 1000
    guess_window_s: Annotated[int, Doc(description="Window of the guess limits", ge=1)] = 600
    link_ttl_s: Annotated[int, Doc(description="Life of a map link or a file link")] = 86_400
    manage_ttl_s: Annotated[int, Doc(description="Life of an unopened manage link")] = 900
    session_ttl_s: Annotated[int, Doc(description="Life of a signed-in portal session")] = 43_200

    shards: Annotated[int, Doc(description="Shards of the relay; fixed when the store is first used", ge=1, le=256)] = (
        16
    )
    lease_ms: Annotated[int, Doc(description="Life of a process's hold on a shard or account", ge=500)] = 5_000
    aof_fsync: Annotated[
        Literal["everysec", "always"], Doc(description="Embedded store: when writes reach the disk")
    ] = "everysec"
    batch: Annotated[int, Doc(description="Most entries handled in one step", ge=1, le=1000)] = 200
    dedup_ttl_s: Annotated[int, Doc(description="How long a redelivered event is recognised")] = 93_600
    id_map_days: Annotated[int, Doc(description="How long edits, deletions, replies and reactions work", ge=1)] = 30
    max_attempts: Annotated[int, Doc(description="Crashes on one entry before it is set aside", ge=1)] = 8
    send_timeout_s: Annotated[float, Doc(description="Longest a post may take before its fate is uncertain")] = 30.0
    on_uncertain: Annotated[
        Literal["resend", "drop"],
        Doc(description="A post whose fate nobody knows and nothing can tell: send again or not"),
    ] = "resend"
    notice_after_s: Annotated[int, Doc(description="Waiting time after which the room is told")] = 60
    old_after_s: Annotated[
        int, Doc(description="A message that arrives so long after it was said shows how long that is; 0: never", ge=0)
    ] = 600
    fold_from: Annotated[
        int, Doc(description="So many messages waiting for a slow room are posted together; 0: never", ge=0)
    ] = 20
    fold_most: Annotated[int, Doc(description="Most messages in one post", ge=2, le=100)] = 50
    max_parts: Annotated[int, Doc(description="Most posts one message is split into", ge=1)] = 8
    max_text_chars: Annotated[int, Doc(description="Longest text taken in; the rest is cut with a mark")] = 32_000
    max_name_chars: Annotated[int, Doc(description="Longest author name shown")] = 64
    max_file_bytes: Annotated[int, Doc(description="Largest file relayed")] = 10 * 1024 * 1024
    echo_repeats: Annotated[int, Doc(description="Same text from one author back in a row that counts as an echo")] = 5
    echo_window_s: Annotated[int, Doc(description="Window of the echo breaker")] = 60
    room_rate_per_s: Annotated[float, Doc(description="Messages per second a room may bring in; 0: no limit")] = 0.0
    author_rate_per_s: Annotated[float, Doc(description="Messages per second one author may bring in; 0: no limit")] = (
        0.0
    )

    @property
    def site_url(self) -> str:
        """Where browsers and services reach the portal; no slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


ALIASES = {"REDIS_URL": "redis_url", "SECRET_KEY": "secret_key", "PORT": "port"}
SECRET_FIELDS = frozenset({"secret_key", "redis_url", "metrics_token", "oidc_client_secret"})


def from_environment(env: Mapping[str, str], **overrides: Any) -> Settings:
    """Settings from ``env``, with ``overrides`` (of the command line, None: not given) winning.

    Raises SettingsError that names the variable and what it should be.
    """
    values: dict[str, Any] = {}
    names = {f.name for f in msgspec.structs.fields(Settings)}
    for variable, text in env.items():
        if variable.startswith("BRIDGEBOT_"):
            name = variable.removeprefix("BRIDGEBOT_").lower()
            if name not in names:
                raise SettingsError(f"{variable} is no setting. `bridgebot doctor` lists them all.")
            values[name] = text
        elif variable in ALIASES and text:
            values.setdefault(ALIASES[variable], text)
    values |= {name: value for name, value in overrides.items() if value is not None}
    hints = get_type_hints(Settings, include_extras=True)
    for name, value in values.items():
        try:
            msgspec.convert(value, hints[name], strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"BRIDGEBOT_{name.upper()}: {error}. {describe(name)}.") from None
    return msgspec.convert(values, Settings, strict=False)


def describe(name: str) -> str:
    """The one line of documentation of a setting."""
    meta = get_type_hints(Settings, include_extras=True)[name].__metadata__[0]
    return str(meta.description)
