"""The command line: which commands there are. Each is imported when it is used, so that every one starts quickly."""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("bridgebot.commands.run:run", "Run everything in one process, on a store of its own."),
    "web": ("bridgebot.commands.run:web", "Run only the web server, on a shared store."),
    "relay": ("bridgebot.commands.run:relay", "Run only the relay, on a shared store."),
    "bots": ("bridgebot.commands.run:bots", "Run only the bots, on a shared store."),
    "doctor": ("bridgebot.commands.doctor:doctor", "Say what is configured, what works, and how to mend the rest."),
    "accounts": ("bridgebot.commands.accounts:accounts", "Add, list, check and remove accounts."),
    "portal-link": ("bridgebot.commands.portal_link:portal_link", "Print a link that signs you in to the portal."),
    "tubes": ("bridgebot.commands.look:tubes", "List the connections of rooms."),
    "log": ("bridgebot.commands.look:log", "Show the security log."),
    "replay": ("bridgebot.commands.look:replay", "List messages that were set aside, or send them again."),
    "export": ("bridgebot.commands.look:export", "Write all rooms, tubes, accounts and the security log as JSON."),
}
"""Name → where the command is, and its line in the overview."""


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is all that the operator needs."""
    from bots.registry import UnknownPlatform
    from core.accounts import AccountError
    from core.embedded import EmbeddedStoreError
    from core.secrets import SecretKeyError
    from core.settings import SettingsError
    from core.store import StoreUrlError

    return (AccountError, EmbeddedStoreError, SecretKeyError, SettingsError, StoreUrlError, UnknownPlatform)


def _tools() -> dict[str, tuple[str, str]]:
    from bots import registry

    return registry.TOOLS


class _Gone(click.ClickException):
    """What was asked for is not there any more, and never will be again."""

    exit_code = 2


def _told(error: Exception) -> type[click.ClickException]:
    from bots.registry import RetiredPlatform

    return _Gone if isinstance(error, RetiredPlatform) else click.ClickException


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the tables."""
        return [*COMMANDS, *_tools()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported."""
        row = COMMANDS.get(cmd_name) or _tools().get(cmd_name)
        if row is None:
            return None
        module, _, attribute = row[0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, without importing any command."""
        for title, rows in (("Commands", COMMANDS), ("Tools of platforms", _tools())):
            if rows:
                with formatter.section(title):
                    formatter.write_dl([(name, line) for name, (_, line) in rows.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; an error that the operator can mend is one line and exit code 1, not a traceback."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, expected_errors()):
                from core.logs import Redactor

                raise _told(error)(Redactor()(str(error))) from error
            raise


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from importlib import metadata

    try:
        click.echo(f"bridgebot {metadata.version('bridgebot-swarm')}")
    except metadata.PackageNotFoundError:
        click.echo("bridgebot, from a folder that is not installed")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """Let any chat room talk with any other.

    `bridgebot run` is all you need to begin. Every setting is an environment variable; `bridgebot doctor` lists them.
    """
