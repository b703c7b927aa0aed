"""``bridgebot`` and ``python -m bridgebot``."""

from __future__ import annotations

from bridgebot.cli import cli


def main() -> None:
    """Run the command line."""
    cli(prog_name="bridgebot")


if __name__ == "__main__":
    main()
