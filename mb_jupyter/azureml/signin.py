"""Who we are for Azure: an explicit choice, never a browser, no guessing among accounts.

A credential lives in this process only; nothing of it is written. Tokens are kept per scope until
shortly before they end, because `az` takes a second to hand one out.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mb_jupyter.errors import SignInError

from .translate import translated

ARM_SCOPE = "https://management.azure.com/.default"

WAYS = {
    "cli": "the account of `az login` on this machine",
    "environment": "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET of this process",
    "managed": "the managed identity of this Azure machine",
    "device": "a code that is typed in on another device or in another browser",
}
"""How one can sign in -> what it means."""

FIXES = {
    "cli": "Run `az login` in a terminal of this machine, or choose --sign-in device.",
    "environment": "Set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET before the kernel starts.",
    "managed": "Use --sign-in cli or --sign-in device on a machine that has no managed identity.",
    "device": "Run the cell again for a new code; somebody has to type it in within 15 minutes.",
}

MARGIN = 300  # seconds before its end from which a token is not handed out any more


@dataclass(frozen=True)
class Account:
    """Who is signed in, and how. ``credential`` shows nothing of itself."""

    name: str
    tenant: str
    how: str
    credential: Any = None

    def __repr__(self) -> str:
        return f"<{self.name}, tenant {self.tenant}, by {self.how}>"


OnCode = Callable[[str, str, datetime], None]  # (address, code, until when)


class Remembering:
    """A credential that asks another one only when it has no token left for that scope.

    ``make`` makes the other one, and makes it again in :meth:`forget` unless a person would have to answer.
    """

    def __init__(self, make: Callable[[], Any], *, asks_somebody: bool = False) -> None:
        self._make = make
        self._asks_somebody = asks_somebody
        self._inner = make()
        self._tokens: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.Lock()

    def get_token(self, *scopes: str, claims: str | None = None, tenant_id: str | None = None, **options: Any) -> Any:
        """Return a token for the scopes; ``claims`` come from a challenge and are always asked anew."""
        key = (scopes, tenant_id)
        with self._lock:
            known = self._tokens.get(key)
            if known is None or claims or known.expires_on - MARGIN < time.time():
                asked = {"claims": claims, "tenant_id": tenant_id, **options}
                known = self._inner.get_token(*scopes, **{k: v for k, v in asked.items() if v is not None})
                self._tokens[key] = known
            return known

    def forget(self) -> None:
        """Hand out nothing that was kept: the service no longer takes it."""
        with self._lock:
            self._tokens.clear()
            if not self._asks_somebody:
                self._inner = self._make()  # it keeps tokens of its own

    def __repr__(self) -> str:
        return f"<{type(self._inner).__name__}>"


_signed_in: dict[tuple[str, str], Account] = {}  # a code is typed in once per kernel, not once per cell
_one_at_a_time = threading.Lock()


def sign_in(how: str, tenant: str | None = None, on_code: OnCode | None = None) -> Account:
    """Sign in, or return who already is; raises ``SignInError`` with what to do.

    ``on_code`` is told the address and the code of ``device``; without it nobody could answer, so
    ``device`` is then refused unless it was answered before in this process.
    """
    if how not in WAYS:
        ways = "; ".join(f"{name}: {meaning}" for name, meaning in WAYS.items())
        raise SignInError(f"There is no sign-in {how!r}.", f"Choose one of these. {ways}.")
    # a code that nobody types in is waited for by whoever asked for it, and by nobody else
    with nullcontext() if how == "device" else _one_at_a_time:
        known = _signed_in.get((how, tenant or ""))
        if known is not None:
            return known
        if how == "device" and on_code is None:
            raise SignInError(
                "Signing in with a device code needs somebody who types the code in.",
                "Sign in first in a cell of its own: %mb_workspace use --sign-in device.",
                "Where nobody is there: --sign-in environment, cli or managed.",
            )
        credential = Remembering(lambda: _credential(how, tenant, on_code), asks_somebody=how == "device")
        account = _account(credential, how, tenant)
        # who names no tenant gets one, and names it from then on
        _signed_in[(how, tenant or "")] = _signed_in[(how, account.tenant)] = account
        return account


def sign_out() -> None:
    """Forget every account of this process."""
    with _one_at_a_time:
        _signed_in.clear()


def _credential(how: str, tenant: str | None, on_code: OnCode | None) -> Any:
    from azure import identity

    given: dict[str, Any] = {"tenant_id": tenant} if tenant else {}
    if how == "cli":
        return identity.AzureCliCredential(process_timeout=30, **given)
    if how == "environment":
        return identity.EnvironmentCredential()
    if how == "managed":
        return identity.ManagedIdentityCredential()

    def prompt(address: str, code: str, until: datetime) -> None:
        assert on_code is not None
        on_code(address, code, until.astimezone(UTC) if until.tzinfo else until.replace(tzinfo=UTC))

    return identity.DeviceCodeCredential(prompt_callback=prompt, **given)


def _account(credential: Remembering, how: str, tenant: str | None) -> Account:
    from azure.core.exceptions import AzureError as FromAzure
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import CredentialUnavailableError

    try:
        with translated("signing in"):
            token = credential.get_token(ARM_SCOPE).token
    except SignInError as error:
        cause = error.__cause__
        if isinstance(cause, CredentialUnavailableError):
            said = f"Nobody is signed in by {how} ({WAYS[how]})."
        elif isinstance(cause, ClientAuthenticationError | FromAzure):
            said = f"Azure did not accept the sign-in by {how}."
        else:
            raise
        raise SignInError(said, FIXES[how], details=error.details, code=error.code, status=error.status) from cause
    claims = claims_of(token)
    name = next((claims[key] for key in ("upn", "preferred_username", "unique_name", "email") if claims.get(key)), "")
    if not name:  # an application or a managed identity
        name = claims.get("app_displayname") or f"application {claims.get('appid') or claims.get('oid') or 'unknown'}"
    return Account(str(name), str(claims.get("tid") or tenant or ""), how, credential)


def claims_of(token: str) -> dict[str, Any]:
    """Return what a token says of its owner; empty when it cannot be read. Nothing is verified: Azure does that."""
    try:
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
