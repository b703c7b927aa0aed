"""The bot's own token: asked for with its secret, kept, and renewed before it runs out.

Bot Framework docs, Authentication with the Bot Connector API, step 1 (client credentials of a single-tenant app).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from bots.teams.config import TeamsConfig
from bots.teams.http import Http, body_of
from core.contract import AuthLost, Retry

RENEW_BEFORE_S = 300.0
RETRY_S = 5.0
MAX_ANSWER_BYTES = 100_000


class _Answer(msgspec.Struct):
    access_token: str = ""
    expires_in: int | str = 0
    error: str = ""
    error_description: str = ""


class Login:
    """Gives the token out. Many may ask at once; one request is made."""

    def __init__(self, config: TeamsConfig, http: Http, clock_s: Callable[[], float]) -> None:
        self._config = config
        self._http = http
        self._clock_s = clock_s
        self._token = ""
        self._until_s = 0.0
        self._renewing = asyncio.Lock()

    async def token(self) -> str:
        """A token with at least some minutes left. Raises AuthLost, or Retry where nobody answers."""
        if self._clock_s() >= self._until_s:
            async with self._renewing:
                if self._clock_s() >= self._until_s:
                    await self._renew()
        return self._token

    def forget(self, token: str) -> None:
        """``token`` was refused: the next one is a new one."""
        if token == self._token:
            self._until_s = 0.0

    def left_s(self) -> float:
        """How long the token is good for before it is renewed."""
        return max(0.0, self._until_s - self._clock_s())

    async def _renew(self) -> None:
        import aiohttp

        form = {
            "grant_type": "client_credentials",
            "client_id": self._config.app_id,
            "client_secret": self._config.app_secret,
            "scope": self._config.scope,
        }
        try:
            async with self._http.session.post(self._config.token_url, data=form, allow_redirects=False) as response:
                status, raw = response.status, await body_of(response, MAX_ANSWER_BYTES)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Retry(RETRY_S, f"the login service does not answer ({type(error).__name__})") from None
        try:
            answer = msgspec.json.decode(raw, type=_Answer)
            life_s = float(answer.expires_in)
        except (msgspec.MsgspecError, ValueError):
            raise Retry(RETRY_S, f"the login service answers {status} and no token") from None
        if status == 200 and answer.access_token:
            self._token = answer.access_token
            self._until_s = self._clock_s() + max(life_s - RENEW_BEFORE_S, life_s / 2)
        elif status in (400, 401, 403):
            raise AuthLost(_in_words(answer))
        else:
            raise Retry(RETRY_S, f"the login service answers {status}")


_MEANINGS = {
    "AADSTS7000215": "The client secret is wrong. Make a new one in the Azure portal (Certificates & secrets) and "
    "copy its Value, not its Secret ID.",
    "AADSTS7000222": "The client secret has run out. Make a new one in the Azure portal (Certificates & secrets).",
    "AADSTS700016": "This tenant does not know the application ID. Check app_id and tenant_id.",
    "AADSTS90002": "There is no such tenant. Check tenant_id.",
    "AADSTS900023": "There is no such tenant. Check tenant_id.",
}


def _in_words(answer: _Answer) -> str:
    code = answer.error_description.partition(":")[0].strip()
    known = _MEANINGS.get(code)
    return known or f"Microsoft refuses the bot's credentials ({code[:60] or answer.error[:60] or 'no reason given'})."
