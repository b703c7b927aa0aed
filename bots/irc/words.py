"""The server's refusals in plain words: numerics of RFC 1459 section 6 and modern.ircdocs.horse, as our errors."""

from __future__ import annotations

from typing import Final

from core.contract import AdapterError, Rejected, Retry

JOIN_REFUSED: Final = frozenset(
    {"403", "405", "407", "437", "471", "473", "474", "475", "476", "477", "479", "480", "489", "520", "263"}
)
NOT_IN_CHANNEL: Final = frozenset({"401", "403", "442"})
REJOIN_AFTER_S = 300.0
FULL_RETRY_S = 30.0


def join_error(numeric: str, channel: str, nick: str, said: str) -> AdapterError:
    """Why we cannot be in ``channel``, and what an operator of it can do."""
    invite = f"then type: /invite {nick} {channel}"
    if numeric in ("471", "437", "263"):
        return Retry(FULL_RETRY_S, f"{channel} has no place for the bot at the moment ({said}).")
    reasons = {
        "474": f"The bot is banned from {channel}. Lift the ban (/mode {channel} -b …), {invite}",
        "473": f"{channel} is for invited people only. Type there: /invite {nick} {channel}",
        "475": f"{channel} has a key. Type there: /invite {nick} {channel} (or add the key to the account's channels).",
        "477": f"{channel} takes registered nicks only. Give the account a sasl_user and sasl_password.",
        "405": f"The bot is in as many channels as the server allows. Take it out of another one, {invite}",
    }
    return Rejected(reasons.get(numeric, f"The bot cannot join {channel}: {said}. Ask the network's operators."))


def send_error(numeric: str, channel: str, nick: str, said: str) -> AdapterError:
    """Why the server did not pass on what we said in ``channel``."""
    if numeric in NOT_IN_CHANNEL:
        return Retry(0.5, f"The bot is not in {channel} at the moment ({said}).")
    if numeric in ("437", "439", "263"):
        return Retry(15.0, f"The server wants us to wait ({said}).")
    if numeric == "407":
        return Retry(0.1, f"The server takes fewer receivers at once ({said}).")
    if numeric == "408":
        return Rejected(f"{channel} takes no formatted text. Lift that (/mode {channel} -c) to relay formatting.")
    return Rejected(
        f"{channel} does not take what the bot says: {said} An operator can give it voice: /mode {channel} +v {nick}"
    )
