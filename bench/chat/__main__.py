"""``python -m bench.chat``: bridgebot with one more platform, the harness's own chat service."""

from __future__ import annotations

from bots import registry

registry.PLATFORMS["bench"] = "bench.chat.adapter:PLATFORM"

if __name__ == "__main__":
    from bridgebot.__main__ import main

    main()
