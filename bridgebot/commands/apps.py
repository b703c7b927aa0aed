"""``bridgebot accounts app``: what is registered once at a service, so that teams give their accounts by signing in."""

from __future__ import annotations

import sys
from typing import Any

import click
from msgspec.structs import replace

from bots import registry
from bridgebot import given, process
from bridgebot.commands import targets
from bridgebot.commands.adding import sentence
from bridgebot.commands.questions import Lines, Terminal, configuration, questions
from core.accounts import AccountError
from core.contract import Platform, Rejected, Retry
from core.logs import Redactor
from core.settings import Settings


@click.command()
@click.argument("name", metavar="[PLATFORM]", required=False)
@click.argument("source", metavar="[-]", required=False)
@click.option(
    "--remove", is_flag=True, help="Forget it. Accounts that were given through it stay, and hear nothing more."
)
@process.data_option
def app(name: str | None, source: str | None, remove: bool, data_dir: str | None) -> None:
    """Register your app on PLATFORM, so that teams add their accounts there by one click in the portal.

    You are asked for what it needs; from a pipe, each line is an answer. With - the whole of it is read from standard
    input as JSON. Without PLATFORM, list where that is possible.
    """
    redactor = Redactor()
    settings = process.load(redactor, data_dir=data_dir)
    if name is None:
        process.run_async(_list(settings, redactor))
        return
    platform = registry.platform(name)
    if platform.sign_in is None:
        raise AccountError(f"Accounts on {platform.title} are added with: bridgebot accounts add {platform.id}")
    if remove:
        process.run_async(_remove(settings, platform, redactor))
        return
    asked = replace(platform, config=platform.sign_in.app)
    if source == "-":
        found = targets.from_json(asked, sys.stdin.read())[1]
    elif source:
        raise AccountError("Its secrets do not belong on the command line: leave them to the questions, or to a pipe.")
    else:
        found = configuration(asked, Terminal() if sys.stdin.isatty() else Lines())
    for question in questions(asked.config):
        if question.secret:
            redactor.add(getattr(found, question.name).strip())
    process.run_async(_put(settings, platform, found, redactor))


async def _list(settings: Settings, redactor: Redactor) -> None:
    async with process.visit(settings, redactor) as visit:
        there = await visit.apps.names()
    for platform, _ in given.platforms():
        how = "registered" if platform.id in there else f"not registered: bridgebot accounts app {platform.id}"
        process.say(f"{platform.id:12} {platform.title:16} {how}")


async def _remove(settings: Settings, platform: Platform, redactor: Redactor) -> None:
    async with process.visit(settings, redactor) as visit:
        if not await visit.apps.remove(platform):
            raise AccountError(f"No app is registered on {platform.title}.")
    process.say(f"The app on {platform.title} is forgotten here. At the service it is still there.")


async def _put(settings: Settings, platform: Platform, found: Any, redactor: Redactor) -> None:
    sign_in = platform.sign_in
    assert sign_in is not None  # noqa: S101 - looked at before
    try:
        found = await given.prepared(sign_in, found, settings.site_url)
    except Rejected as error:
        raise AccountError(redactor(f"{platform.title} does not take it: {error.reason}")) from None
    except Retry as error:
        raise AccountError(redactor(f"{platform.title} does not answer: {sentence(error)} Try again later.")) from None
    async with process.visit(settings, redactor) as visit:
        await visit.apps.put(platform, found)
    process.say(f"Registered. The portal shows the button “{sign_in.button}” from now on.")
    if settings.add_accounts == "nobody":
        process.say("BRIDGEBOT_ADD_ACCOUNTS is nobody, so there are no such pages: set it to operator or members.")
    process.say("What is left to do there:")
    urls = given.redirect_url(settings, platform.id), given.app_url(settings, platform.id)
    for number, step in enumerate(sign_in.steps(*urls), 1):
        process.say(f"  {number}. {step}")
