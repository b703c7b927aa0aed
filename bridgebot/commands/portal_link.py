"""``bridgebot portal-link``: the operator's way into the portal."""

from __future__ import annotations

import getpass
from typing import cast

import click

from bridgebot import process
from core.logs import Redactor
from core.replies import duration
from core.settings import Settings


@click.command("portal-link")
@process.data_option
def portal_link(data_dir: str | None) -> None:
    """Print a link that signs you in to the portal as the operator: all accounts, and adding more.

    It works once, in one browser. Whoever has it is the operator there, so pass it on to nobody.
    """
    redactor = Redactor()
    settings = process.load(redactor, data_dir=data_dir)
    if settings.add_accounts == "nobody":
        raise click.ClickException(
            "BRIDGEBOT_ADD_ACCOUNTS is nobody, so the portal has no pages for you. Set it to operator, and start the "
            "web server again."
        )
    process.run_async(_link(settings, redactor))


async def _link(settings: Settings, redactor: Redactor) -> None:
    from codes.links import Links
    from core.deps import wall_clock_ms
    from portal.tokens import OPERATOR, SITE

    async with process.visit(settings, redactor) as visit:
        opened = visit.settings
        links = Links(visit.store, opened.secret_key, now_ms=wall_clock_ms)
        token = await links.issue_once(OPERATOR, {"name": getpass.getuser()}, opened.manage_ttl_s)
        at = cast("bytes | None", await visit.store.get(SITE))
    url = opened.public_url.rstrip("/") or (at.decode() if at else opened.site_url)
    process.say(f"{url}/manage/{token}")
    click.echo(f"It works once, for {duration(opened.manage_ttl_s)}.", err=True)
