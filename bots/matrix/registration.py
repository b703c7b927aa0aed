"""``bridgebot matrix-registration``: the file by which a homeserver learns of us as an application service."""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path

import click

from bots.matrix.config import MatrixConfig


def registration(config: MatrixConfig, url: str) -> str:
    """The registration file (Application Service API, "Registration"); JSON strings are YAML, too."""
    server = re.escape(config.server_name)
    ghosts = f"@{re.escape(config.ghost_prefix)}.*:{server}"
    own = f"@{re.escape(_localpart(config))}:{server}"
    return f"""\
# How this homeserver talks to bridgebot. Keep it secret: who has these tokens can speak for everybody bridged.
id: {json.dumps(config.appservice_id)}
url: {json.dumps(url)}
as_token: {json.dumps(config.token)}
hs_token: {json.dumps(config.hs_token)}
sender_localpart: {json.dumps(_localpart(config))}
rate_limited: false
receive_ephemeral: true
de.sorunome.msc2409.push_ephemeral: true
namespaces:
  users:
    - {{exclusive: true, regex: {json.dumps(ghosts)}}}
    - {{exclusive: true, regex: {json.dumps(own)}}}
  aliases: []
  rooms: []
"""


def _localpart(config: MatrixConfig) -> str:
    return config.user_id[1:].partition(":")[0]


def new_config(homeserver: str, server_name: str, bot: str, prefix: str, appservice_id: str) -> MatrixConfig:
    """An account with new tokens. Raises ValueError that says what to write."""
    return MatrixConfig(
        homeserver=homeserver,
        user_id=f"@{bot}:{server_name}",
        token=secrets.token_hex(32),
        hs_token=secrets.token_hex(32),
        appservice_id=appservice_id,
        ghost_prefix=prefix,
    )


def _write(path: Path, words: str) -> None:
    """Write a file that only its owner reads; never over another one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already. Remove it, or write elsewhere with --out.") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(words)


@click.command("matrix-registration")
@click.option("--homeserver", required=True, metavar="URL", help="Where bridgebot reaches it: http://localhost:8008")
@click.option("--server-name", required=True, metavar="NAME", help="What stands behind the colon of user names.")
@click.option("--url", required=True, metavar="URL", help="Where the homeserver reaches bridgebot's web address.")
@click.option("--account", default="matrix", show_default=True, help="Name of the account in bridgebot.")
@click.option("--bot", default="bridgebot", show_default=True, help="The bot's own user name.")
@click.option("--prefix", default="_bridge_", show_default=True, help="How the user names of ghosts begin.")
@click.option("--out", default=".", type=click.Path(file_okay=False), help="Folder for the two files.")
def command(homeserver: str, server_name: str, url: str, account: str, bot: str, prefix: str, out: str) -> None:
    """Make the registration file of a Matrix application service, and the account that goes with it.

    Writes matrix-registration.yaml for the homeserver and matrix-account.json for bridgebot, both with new tokens.
    """
    try:
        config = new_config(homeserver, server_name, bot, prefix, account)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    yaml, given = folder / "matrix-registration.yaml", folder / "matrix-account.json"
    where = f"{url.rstrip('/')}/bots/{account}"
    _write(yaml, registration(config, where))
    chosen = ("homeserver", "user_id", "token", "hs_token", "appservice_id", "ghost_prefix")
    _write(given, json.dumps({name: getattr(config, name) for name in chosen}, indent=2) + "\n")
    click.echo(f"1. Put {yaml} where the homeserver can read it, and name it in the homeserver's configuration.")
    click.echo(
        "   Synapse, in homeserver.yaml:  app_service_config_files: [/etc/matrix-synapse/matrix-registration.yaml]"
    )
    click.echo("2. Restart the homeserver.")
    click.echo(f"3. bridgebot accounts add matrix - --id {account} < {given}   (then remove {given})")
    click.echo("4. bridgebot doctor")
