"""The app that brings the bot into Teams: a zip with a manifest and two icons, ready to be uploaded.

Rules: the JSON schema of app manifests, version 1.24 (developer.microsoft.com/json-schemas/teams/v1.24), and Teams
docs, Receive all messages for bots and agents (resource-specific consent).
"""

from __future__ import annotations

import re
import struct
import uuid
import zlib
from pathlib import Path
from typing import Any, Final

import click
import msgspec

VERSION: Final = "1.24"
PERMISSIONS: Final = ("ChannelMessage.Read.Group", "ChatMessage.Read.Chat")
"""With these Teams delivers every message; without, only those that mention the bot."""
ACCENT: Final = (0x2F, 0x6F, 0x5E)
SCOPES: Final = ("team", "groupChat", "personal")
COMMANDS: Final = (
    ("help", "Everything the bot understands"),
    ("open", "A code that connects another room to this one"),
    ("portal", "A link that connects rooms to this one"),
    ("list", "The rooms that are connected"),
    ("disable", "Disconnect this room"),
)
_GUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_NAMESPACE = uuid.UUID("6b1f0b0e-6f0e-5c63-9d0d-2f0f7a1c9e55")


def manifest(
    app_id: str, name: str, website: str, *, version: str = "1.0.0", developer: str = "", prefix: str = "sameroom"
) -> dict[str, Any]:
    """The manifest of the bot ``app_id``. Raises ValueError that says what to write."""
    if not _GUID.fullmatch(app_id):
        raise ValueError(f"{app_id!r} is no application ID. It looks like 11111111-2222-3333-4444-555555555555.")
    if not name.strip() or len(name) > 30:
        raise ValueError("The name must have 1 to 30 characters.")
    if not website.startswith("https://"):
        raise ValueError("The website must begin with https://. It is shown to people who look the app up.")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError("The version looks like 1.0.0; a higher one replaces an app that was uploaded before.")
    commands = [{"title": f"-{prefix} {word}", "description": meaning} for word, meaning in COMMANDS]
    return {
        "$schema": f"https://developer.microsoft.com/json-schemas/teams/v{VERSION}/MicrosoftTeams.schema.json",
        "manifestVersion": VERSION,
        "version": version,
        "id": str(uuid.uuid5(_NAMESPACE, app_id.lower())),
        "developer": {
            "name": (developer or name)[:32],
            "websiteUrl": website,
            "privacyUrl": website,
            "termsOfUseUrl": website,
        },
        "name": {"short": name, "full": f"{name}: connects this room with rooms of other chat services"[:100]},
        "description": {
            "short": "Connects this channel or chat with a room of another chat service.",
            "full": "Add it to a channel or chat and connect that with a room of another chat service: what is said "
            f"in one is read in both. Write -{prefix} help to begin. It reads the messages of the conversations it "
            "is added to, in order to pass them on to the rooms that their members have connected.",
        },
        "icons": {"color": "color.png", "outline": "outline.png"},
        "accentColor": "#{:02X}{:02X}{:02X}".format(*ACCENT),
        "bots": [
            {
                "botId": app_id,
                "scopes": list(SCOPES),
                "supportsFiles": True,
                "isNotificationOnly": False,
                "commandLists": [{"scopes": [scope], "commands": commands} for scope in SCOPES],
            }
        ],
        "defaultInstallScope": "team",
        "defaultGroupCapability": {"team": "bot", "groupchat": "bot"},
        "webApplicationInfo": {"id": app_id, "resource": website},
        "authorization": {
            "permissions": {"resourceSpecific": [{"name": name_, "type": "Application"} for name_ in PERMISSIONS]}
        },
    }


def package(described: dict[str, Any]) -> bytes:
    """The zip that Teams takes: the same bytes for the same manifest."""
    import io
    import zipfile

    made = io.BytesIO()
    files = {
        "manifest.json": msgspec.json.format(msgspec.json.encode(described), indent=2),
        "color.png": icon(192, (*ACCENT, 255)),
        "outline.png": icon(32, (0, 0, 0, 0)),
    }
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def icon(size: int, ground: tuple[int, int, int, int]) -> bytes:
    """A square PNG of ``size`` pixels: two white rooms and the tube between them, on ``ground`` (RGBA)."""
    rows = b"".join(
        b"\0" + b"".join(bytes((255, 255, 255, 255) if _drawn(x, y, size) else ground) for x in range(size))
        for y in range(size)
    )
    head = struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _drawn(x: int, y: int, size: int) -> bool:
    u, v = (x + 0.5) / size, (y + 0.5) / size
    for middle in (0.29, 0.71):
        away = ((u - middle) ** 2 + (v - 0.5) ** 2) ** 0.5
        if 0.11 <= away <= 0.18:
            return True
    return 0.46 <= v <= 0.54 and 0.45 <= u <= 0.55


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@click.command("teams-manifest")
@click.option("--app-id", required=True, metavar="ID", help="Application (client) ID of the bot.")
@click.option("--name", default="BridgeBot", show_default=True, help="What people see in Teams.")
@click.option(
    "--website", default="https://example.org", show_default=True, help="A page of yours about the bridge; https."
)
@click.option("--developer", default="", help="Who runs it [default: the name].")
@click.option("--version", "version", default="1.0.0", show_default=True, help="Raise it to replace an older app.")
@click.option("--prefix", default="sameroom", show_default=True, help="The word of the chat commands.")
@click.option("--out", default="bridgebot-teams.zip", show_default=True, type=click.Path(dir_okay=False))
def command(app_id: str, name: str, website: str, developer: str, version: str, prefix: str, out: str) -> None:
    """Make the app package that is uploaded to Microsoft Teams."""
    try:
        made = package(manifest(app_id, name, website, version=version, developer=developer, prefix=prefix))
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    Path(out).write_bytes(made)
    click.echo(f"Made {out}. In Teams: Apps, Manage your apps, Upload an app.")
