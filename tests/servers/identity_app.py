"""Canaille with the people that its argument names. Run by the Python of .venv-canaille, and so without our modules."""

from __future__ import annotations

import datetime
import json
import os
import secrets
import sys
from typing import Any


def _configuration(port: int) -> dict[str, Any]:
    from joserfc.jwk import JWKRegistry

    key = JWKRegistry.generate_key("RSA", 2048)
    key.ensure_kid()
    return {
        "SECRET_KEY": secrets.token_hex(),
        "SERVER_NAME": f"localhost:{port}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {
            "DATABASE": "memory",
            "NAME": "Canary Works",
            "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc"]}},
            "ENABLE_PASSWORD_COMPROMISSION_CHECK": False,
        },
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)], "TRUSTED_DOMAINS": []},
    }


def _serve(wanted: dict[str, Any]) -> None:
    from canaille import create_app
    from canaille.app import models
    from canaille.backends import Backend
    from werkzeug.serving import make_server

    app = create_app(config=_configuration(wanted["port"]))
    with app.app_context():
        members: dict[str, list[Any]] = {}
        for one in wanted["people"]:
            user = models.User(
                user_name=one["login"],
                formatted_name=one["name"],
                family_name=one["name"],
                emails=[f"{one['login']}@example.org"],
                password=wanted["password"],
            )
            Backend.instance.save(user)
            for group in one["groups"]:
                members.setdefault(group, []).append(user)
        for name, users in members.items():
            Backend.instance.save(models.Group(display_name=name, members=users))
        client = models.Client(
            client_id=wanted["client"][0],
            client_secret=wanted["client"][1],
            client_id_issued_at=datetime.datetime.now(datetime.UTC),
            client_name="Sameroom",
            client_uri="http://sameroom.example",
            contacts=["operator@example.org"],
            redirect_uris=[wanted["redirect_uri"]],
            grant_types=["authorization_code"],
            response_types=["code"],
            scope=["openid", "profile", "email", "groups"],
            token_endpoint_auth_method="client_secret_basic",
        )
        Backend.instance.save(client)  # it must be there to be its own audience
        client.audience = [client]
        Backend.instance.save(client)
    make_server("localhost", wanted["port"], app, threaded=True).serve_forever()


if __name__ == "__main__":
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    _serve(json.loads(sys.argv[1]))
