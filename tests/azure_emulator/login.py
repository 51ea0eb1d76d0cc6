"""Signing in: login.microsoftonline.com, and the address of a managed identity."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from .messages import RefusalError, Reply, Request

if TYPE_CHECKING:
    from .emulator import Azure

HOST = "https://login.microsoftonline.com"


def issue(azure: Azure, audience: str, tenant: str = "", lifetime: float | None = None) -> str:
    """Return a token: a JWT whose signature nobody checks, known to the stand-in until it ends."""
    now, tenant = int(time.time()), tenant or azure.tenant
    seconds = azure.token_lifetime if lifetime is None else lifetime
    claims = {
        "aud": audience, "iss": f"https://sts.windows.net/{tenant}/", "tid": tenant, "oid": azure.user_id,
        "upn": azure.user, "unique_name": azure.user, "name": "Ada Example", "appid": azure.client_id,
        "iat": now, "nbf": now - 60, "exp": int(now + max(seconds, 60)), "jti": uuid.uuid4().hex,
    }  # fmt: skip
    header = {"typ": "JWT", "alg": "RS256", "kid": "stand-in"}
    token = ".".join((_packed(header), _packed(claims), _packed({"signature": uuid.uuid4().hex})))
    azure.tokens[token] = time.time() + seconds
    return token


def _packed(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def check(azure: Azure, request: Request) -> None:
    """Refuse a request whose token is absent, unknown or over."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if azure.tokens.get(token, 0) < time.time():
        code = "ExpiredAuthenticationToken" if token in azure.tokens else "InvalidAuthenticationToken"
        challenge = f'Bearer authorization_uri="{HOST}/{azure.tenant}", error="invalid_token"'
        raise RefusalError(401, code, "The access token is invalid or expired.", {"WWW-Authenticate": challenge})


def openid(azure: Azure, request: Request) -> Reply:
    """Where a tenant signs in."""
    base = f"{HOST}/{request.at['tenant']}"
    tenant = azure.tenant if request.at["tenant"] in ("organizations", "common") else request.at["tenant"]
    return Reply(200, {
        "token_endpoint": f"{base}/oauth2/v2.0/token", "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode", "issuer": f"{HOST}/{tenant}/v2.0",
        "jwks_uri": f"{base}/discovery/v2.0/keys", "tenant_region_scope": "EU",
    })  # fmt: skip


def instances(azure: Azure, request: Request) -> Reply:
    """Which authorities are the same cloud."""
    alias = {"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net",
             "aliases": ["login.microsoftonline.com", "login.windows.net"]}  # fmt: skip
    return Reply(200, {"tenant_discovery_endpoint": f"{HOST}/common/v2.0/.well-known/openid-configuration",
                       "api-version": "1.1", "metadata": [alias]})  # fmt: skip


def realm(azure: Azure, request: Request) -> Reply:
    """A user name's home: managed by the tenant itself."""
    return Reply(
        200,
        {
            "ver": "1.0",
            "account_type": "Managed",
            "domain_name": "example.org",
            "cloud_instance_name": "microsoftonline.com",
        },
    )


def device_code(azure: Azure, request: Request) -> Reply:
    """Give a code to type elsewhere; ``azure.device_code_polls`` requests later it has been typed."""
    azure.device_polls, azure.device_scope = 0, request.form().get("scope", "")
    return Reply(
        200,
        {
            "user_code": "STANDIN42",
            "device_code": "device-" + uuid.uuid4().hex,
            "interval": 1,
            "expires_in": 900,
            "verification_uri": "https://microsoft.com/devicelogin",
            "message": "To sign in, use a web browser to open the page https://microsoft.com/devicelogin and enter "
            "the code STANDIN42 to authenticate.",
        },
    )


def token(azure: Azure, request: Request) -> Reply:
    """Answer a grant: a client's secret, a device code, a refresh token."""
    form, tenant = request.form(), request.at["tenant"]
    tenant = azure.tenant if tenant in ("organizations", "common") else tenant
    if tenant != azure.tenant:
        raise RefusalError(400, "invalid_request", f"AADSTS90002: Tenant '{tenant}' not found.")
    grant = form.get("grant_type", "")
    if grant == "client_credentials":
        if form.get("client_secret") != azure.client_secret:
            raise RefusalError(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
    elif grant.endswith("device_code"):
        azure.device_polls += 1
        if azure.device_refused:
            raise RefusalError(400, azure.device_refused, "AADSTS70016: the device code was not accepted.")
        if azure.device_polls <= azure.device_code_polls:
            raise RefusalError(400, "authorization_pending", "AADSTS70016: OAuth 2.0 device flow error. Pending.")
    elif grant != "refresh_token":
        raise RefusalError(400, "unsupported_grant_type", f"AADSTS70003: {grant} is not supported.")
    scope = form.get("scope") or azure.device_scope  # msal names the scope only when it asks for the code
    audience = next((one for one in scope.split() if "://" in one), "").removesuffix("/.default").rstrip("/")
    answer = {
        "token_type": "Bearer",
        "expires_in": int(azure.token_lifetime),
        "ext_expires_in": int(azure.token_lifetime),
        "access_token": issue(azure, audience, tenant),
    }
    if grant != "client_credentials":
        info = {"uid": azure.user_id, "utid": tenant}
        claims = {
            "aud": form.get("client_id"),
            "iss": f"{HOST}/{tenant}/v2.0",
            "tid": tenant,
            "oid": azure.user_id,
            "sub": "ada",
            "preferred_username": azure.user,
            "name": "Ada Example",
            "iat": int(time.time()),
            "exp": int(time.time()) + 3600,
        }
        refresh = "refresh-" + uuid.uuid4().hex
        azure.tokens[refresh] = time.time() + 3600
        answer |= {
            "refresh_token": refresh,
            "scope": form.get("scope", ""),
            "client_info": _packed(info),
            "id_token": f"{_packed({'alg': 'none'})}.{_packed(claims)}.x",
            "foci": "1",
        }
    return Reply(200, answer)


def managed_identity(azure: Azure, request: Request) -> Reply:
    """Answer a virtual machine that asks for its own identity."""
    resource = request.query.get("resource", "https://management.azure.com")
    return Reply(
        200,
        {
            "access_token": issue(azure, resource),
            "expires_in": str(int(azure.token_lifetime)),
            "token_type": "Bearer",
            "expires_on": str(int(time.time() + azure.token_lifetime)),
            "resource": resource,
        },
    )


def on_behalf(azure: Azure, request: Request) -> Reply:
    """Answer a job that runs as its user and asks for that user's token."""
    resource = request.query["resource"].rstrip("/")
    expires = str(int(time.time() + azure.token_lifetime))
    return Reply(200, {"access_token": issue(azure, resource), "expires_on": expires, "token_type": "Bearer"})
