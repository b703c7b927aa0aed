"""The look that ``bridgebot doctor`` takes at an XMPP account, and the first sign-in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from bots.xmpp import xml as x
from bots.xmpp.config import XmppConfig, suggested_id
from bots.xmpp.files import Service, service, services
from bots.xmpp.stream import Refused, Stream
from core.contract import AdapterError, AuthLost, Finding, Rejected, Retry

ROOMS_MAX: Final = 20


def _nothing(stanza: Element) -> None:
    """What comes in while we only look is for nobody."""


async def findings(config: XmppConfig) -> Sequence[Finding]:
    """Does the server answer, is its certificate good, does it let us in, what does it offer?"""
    found: list[Finding] = []
    if config.tls == "none" and not config.is_component:
        found.append(Finding(False, f"{config.domain}: everything is sent unencrypted", "Set tls to starttls."))
    elif not config.tls_verify:
        found.append(
            Finding(False, f"{config.domain}: anybody can pose as the server", "Set tls_verify, or name tls_ca_file.")
        )
    if not config.password:
        return [*found, Finding(False, f"{config.jid} has no password", "Add the account again, with its password.")]
    try:
        stream = Stream(config, _nothing, tail="doctor")
        await stream.open()
    except (AdapterError, OSError) as error:
        return [*found, _not_in(config, error)]
    try:
        found.append(Finding(True, f"{config.domain} answers and lets {config.jid} in"))
        found += await _offers(config, stream)
    except AdapterError as error:
        found.append(Finding(False, f"{config.domain} does not say what it offers: {error}", "Try again later."))
    finally:
        await stream.close()
    return found


def _not_in(config: XmppConfig, error: Exception) -> Finding:
    if isinstance(error, AuthLost):
        return Finding(False, f"{config.domain}: {error}", "Correct jid and password.")
    if "conflict" in str(error) and config.is_component:
        return Finding(True, f"{config.domain}: the component is connected already")
    if "certificate" in str(error):
        mend = "Name the certificate's authority in tls_ca_file, or correct host; the certificate must name the domain."
        return Finding(False, f"{config.domain}: {error}", mend)
    if config.is_component:
        mend = f"Check host and port, and that the server has a component {config.domain}."
    else:
        mend = "Check jid, host, port and tls; 5222 takes starttls and 5223 direct, on most servers."
    return Finding(False, f"{config.domain} does not answer: {error}", mend)


async def _offers(config: XmppConfig, stream: Stream) -> list[Finding]:
    found = await services(stream, config.services_domain)
    rooms = [await _room_found(config, stream, entry) for entry in config.rooms[:ROOMS_MAX]]
    return [_rooms_found(config, found), *rooms, await _upload_found(config, stream, found)]


def _rooms_found(config: XmppConfig, found: list[Service]) -> Finding:
    names = [one.jid for one in found if x.MUC in one.features]
    if names:
        return Finding(True, f"rooms are at {', '.join(names)}")
    if config.rooms:
        return Finding(True, f"{config.services_domain} has no rooms of its own; those of other servers are used")
    mend = "Rooms of other servers work too: invite the bot there, or name them in rooms."
    return Finding(False, f"{config.services_domain} has no service for rooms", mend)


async def _room_found(config: XmppConfig, stream: Stream, entry: str) -> Finding:
    """A room that the bot is to be in, as the room describes itself (XEP-0045 section 6.4)."""
    jid, _, password = entry.partition(" ")
    try:
        answer = await stream.ask("get", jid.lower(), x.element(x.DISCO_INFO, "query"))
    except Refused as error:
        if error.condition == "item-not-found":
            return Finding(True, f"there is no room {jid} yet; the bot makes it if it may")
        return Finding(False, f"the room {jid} is not reached: {error}", "Check its address in rooms, and its server.")
    except AdapterError as error:
        return Finding(False, f"the room {jid} does not answer: {error}", "Check its address in rooms, and its server.")
    features = {item.get("var") for item in answer.iter(f"{{{x.DISCO_INFO}}}feature")}
    if "muc_passwordprotected" in features and not password.strip():
        mend = f"In rooms, write the password behind the address and a blank: {jid} PASSWORD"
        return Finding(False, f"the room {jid} has a password", mend)
    if "muc_membersonly" in features:
        return Finding(True, f"only members may enter {jid}: {config.address} must be one")
    return Finding(True, f"the room {jid} is there")


async def _upload_found(config: XmppConfig, stream: Stream, found: list[Service]) -> Finding:
    if config.upload:
        named = await service(stream, config.upload)
        found = [named] if named is not None else []
    upload = next((one for one in found if x.UPLOAD in one.features), None)
    if upload is None:
        mend = "Files are posted as links. For real ones the server needs HTTP upload (XEP-0363)."
        return Finding(True, f"no upload service is found. {mend}")
    limit = f", up to {upload.size_bytes} bytes each" if upload.size_bytes else ""
    return Finding(True, f"files are uploaded to {upload.jid}{limit}")


async def prepared(config: XmppConfig) -> tuple[str, XmppConfig]:
    """Sign in once. Raises Rejected for what the operator must mend, Retry where the server does not answer."""
    if not config.password:
        raise Rejected(f"{config.jid} needs a password.")
    try:
        stream = Stream(config, _nothing, tail="first")
        await stream.open()
    except (AdapterError, OSError) as error:
        finding = _not_in(config, error)
        if finding.ok:
            return suggested_id(config), config
        words = f"{finding.what}. {finding.mend}"
        if isinstance(error, AuthLost) or "certificate" in str(error):
            raise Rejected(words) from None
        raise Retry(5.0, words) from None
    await stream.close()
    return suggested_id(config), config


def steps(config: XmppConfig) -> Sequence[str]:
    """What is left to do."""
    first = f"Invite {config.address} to a room: it joins, and says hello."
    if config.rooms:
        first = f"The bot enters {', '.join(entry.partition(' ')[0] for entry in config.rooms)} by itself. " + first
    return (first, "In a room that only members may enter, make the bot a member first.")
