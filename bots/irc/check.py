"""The look that ``bridgebot doctor`` takes at an IRC account."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence

from bots.irc.config import IrcConfig
from bots.irc.connection import tls_context
from core.contract import Finding

TIMEOUT_S = 5.0


async def findings(config: IrcConfig) -> Sequence[Finding]:
    """Does the server answer, and is the password safe on its way?"""
    place = f"{config.host}:{config.port}"
    found = [await _reaches(config, place)]
    if (config.mechanism == "PLAIN" or config.nickserv_password or config.password) and not config.tls:
        found.append(Finding(False, f"{place}: the password is sent unencrypted", "Set tls, usually with port 6697."))
    if config.tls and not config.tls_verify:
        found.append(Finding(False, f"{place}: anybody can pose as the server", "Set tls_verify, or name tls_ca_file."))
    if not config.channels:
        found.append(Finding(True, f"{place}: no channels are configured; the bot waits to be invited"))
    return found


async def _reaches(config: IrcConfig, place: str) -> Finding:
    try:
        context = tls_context(config) if config.tls else None
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(config.host, config.port, ssl=context)
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    except ssl.SSLCertVerificationError as error:
        mend = "Name the certificate's authority in tls_ca_file, or correct host."
        return Finding(False, f"{place} has a certificate that cannot be trusted: {error.verify_message}", mend)
    except (OSError, TimeoutError) as error:
        mend = "Check host, port and tls; 6697 speaks TLS and 6667 does not, on most servers."
        return Finding(False, f"{place} does not answer: {error or 'no answer in time'}", mend)
    return Finding(True, f"{place} answers")
