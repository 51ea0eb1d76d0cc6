"""Signing in to Azure in the Environment step: a choice of ways, and the device code where one is needed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mb_jupyter import cloud
from mb_jupyter.display import FONT, card, escape

from . import parts

if TYPE_CHECKING:
    from .environment import Environment

WAYS = {
    "cli": "Azure CLI: the account of `az login` on this machine",
    "device": "Device code: typed in on a web page, on any device",
    "environment": "Environment: AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET",
    "managed": "Managed identity of this Azure machine",
}


class SignIn:
    """How to sign in, the buttons, and who is signed in; ``signed_in`` is told when somebody is."""

    def __init__(self, step: Environment, signed_in: Callable[[], None]) -> None:
        self._step, self._signed_in = step, signed_in
        asked = step.kept("sign_in")
        self.how = parts.choice("Sign in by", [(text, way) for way, text in WAYS.items()], asked or "cli")
        self.tenant = parts.text(
            "Tenant", step.kept("tenant"), placeholder="only where your account is in several", hint="Id or domain"
        )
        self.button = parts.button("Sign in", "Sign in to Azure", style="primary")
        self.leave = parts.button("Sign out", "Forget the account; nothing of it was ever written")
        self.said = parts.html()
        step.on(self.button, self.sign_in)
        step.on(self.leave, self._sign_out)
        self.widget = parts.column(self.how, self.tenant, parts.row(self.button, self.leave), self.said)
        self._show()

    def sign_in(self) -> None:
        """Ask Azure, in a thread; a device code stands here until somebody has typed it in."""
        how, tenant = self.how.value, self.tenant.value.strip()
        self._busy(True)

        def done(account: Any) -> None:
            self._step.account = account
            self._step.keep(sign_in=how, tenant=tenant)
            self._busy(False)
            self._show()
            self._signed_in()

        def failed(_: Exception) -> None:
            self._busy(False)
            self._show()

        self._step.work(
            lambda: cloud.sign_in(how, tenant or None, self._show_code), done, says="Signing in to Azure", failed=failed
        )

    def _busy(self, busy: bool) -> None:
        self.button.disabled = self.how.disabled = self.tenant.disabled = busy

    def _sign_out(self) -> None:
        cloud.sign_out()
        self._step.account = None
        self._show()
        self._step.changed()

    def _show_code(self, address: str, code: str, until: datetime) -> None:
        link = f'<a href="{escape(address)}" target="_blank" rel="noopener">{escape(address)}</a>'
        shown = f'<code tabindex="0" style="font-size:18px;user-select:all;letter-spacing:1px">{escape(code)}</code>'
        told = f"<div>Open {link} on any device and type in the code</div><div>{shown}</div>"
        told += f"<div>Valid until {until.astimezone():%H:%M %Z}. This goes on by itself once you are signed in.</div>"
        self.said.value = f'<div role="status">{card("Your code", told)}</div>'

    def _show(self) -> None:
        account = self._step.account
        parts.hide(self.leave, account is None)
        parts.hide(self.how, account is not None)
        parts.hide(self.tenant, account is not None)
        parts.hide(self.button, account is not None)
        told = "Nobody is signed in." if account is None else f"Signed in: {account.name}, tenant {account.tenant}."
        self.said.value = f'<div role="status" style="{FONT};padding:2px 0">{escape(told)}</div>'
