"""Environment: where to train. This machine, or Azure: who, where, and on which compute."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mb_jupyter import cloud
from mb_jupyter.display import FONT, Shown, card, escape
from mb_jupyter.errors import MBError
from mb_jupyter.workspace import Workspace

from . import parts
from .step import Step

if TYPE_CHECKING:
    from mb_jupyter.cloud import Account, Connection

LOCAL = "Trainings run on this machine, and everything stays here: no account is needed."
PLACES = (("local: this machine", "local"), ("azure: a compute in the cloud", "azure"))
SILENT = ("cli", "environment", "managed")  # ways to sign in that ask nobody anything


class Environment(Step):
    """Where to train."""

    name = "environment"
    title = "Environment"
    about = "Where to train: on this machine, or on a compute of Azure Machine Learning."

    def __init__(self, state: Any) -> None:
        super().__init__(state)
        self.account: Account | None = None
        self.making = False  # something in Azure, at this moment
        self._filling = 0  # the thread that gives a list other options
        self._azure: Any = None  # until build()

    def build(self) -> list[Any]:
        """Return the choice of the place, and what belongs to each."""
        where = self.state.environment if self.state.environment == "azure" else "local"
        self.where = parts.options("Train on", PLACES, where)
        self.local = parts.html()
        self.azure = parts.column()
        self.observe(self.where, self._chose)
        self.state.observe(lambda change: self._follow(), "environment")
        self._follow()
        return [self.where, self.local, self.azure]

    def refresh(self) -> None:
        """Show the local workspace as it is now."""
        if self.__dict__.get("where") is not None:
            self._follow()

    def magic(self) -> str:
        """Return the cell that chooses the same."""
        if self.state.environment != "azure":
            return "%mb_workspace show local"
        kept = self.state.azure
        if not (kept.get("workspace") and kept.get("subscription") and kept.get("sign_in")):
            return ""
        tenant = f" --tenant {kept['tenant']}" if kept.get("tenant") else ""
        lines = [
            f"%mb_workspace use {kept['workspace']} --sign-in {kept['sign_in']}{tenant} "
            f"--subscription {kept['subscription']} --resource-group {kept['resource_group']}"
        ]
        if kept.get("compute"):
            lines.append(f"%mb_compute use {kept['compute']}")
        return "\n".join(lines)

    def summary(self) -> Shown:
        """Return where trainings go."""
        if self.state.environment != "azure":
            bundle = Workspace.local()._repr_mimebundle_()
            return Shown(bundle["text/plain"], bundle["text/html"])
        kept = self.state.azure
        words = (("workspace", "Workspace"), ("resource_group", "Resource group"), ("region", "Region"),
                 ("compute", "Compute"))  # fmt: skip
        told = [f"{title} {kept[key]}" for key, title in words if kept.get(key)]
        said = ", ".join(told) or "no workspace is chosen yet"
        return Shown(f"Azure: {said}.", card("Environment: Azure", f"<div>{escape(said)}.</div>"))

    # -- what the parts ask of it ------------------------------------------------------------------------

    def kept(self, key: str) -> str:
        """Return what was chosen before, here or by a magic."""
        value = self.state.azure.get(key)
        if value is None:
            try:
                value = getattr(cloud.chosen(), key, "")
            except MBError:
                value = ""
        return str(value)

    def keep(self, **values: str) -> None:
        """Keep choices about Azure."""
        after = {**self.state.azure, **values}
        if after != self.state.azure:
            self.state.azure = after
            self.changed()

    def choose(self) -> None:
        """Make the chosen workspace that of every other command."""
        keys = ("sign_in", "tenant", "subscription", "resource_group", "workspace", "region")
        cloud.choose(**{key: self.kept(key) for key in keys})

    def fill(self, choice: Any, options: Sequence[tuple[str, Any]], value: Any) -> None:
        """Give a list other options; nobody is told that something was chosen."""
        self._filling = threading.get_ident()
        try:
            choice.options, choice.value = tuple(options), value
        finally:
            self._filling = 0

    @property
    def filling(self) -> bool:
        """Whether a list is given other options at this moment: what it then shows was chosen by nobody."""
        return self._filling == threading.get_ident()

    @property
    def connection(self) -> Connection | None:
        """A connection to the chosen workspace; None before somebody is signed in and one is chosen."""
        keys = ("workspace", "resource_group", "subscription")
        if self.account is None or not all(self.kept(key) for key in keys):
            return None
        name, group, subscription = (self.kept(key) for key in keys)
        return cloud.AzureWorkspace(name, group, subscription, self.kept("region"), self.account).connection

    # -- which -------------------------------------------------------------------------------------------

    def _chose(self, where: str) -> None:
        self.state.environment = where

    def _follow(self) -> None:
        azure = self.state.environment == "azure"
        self.where.value = self.state.environment if azure else "local"
        said = Workspace.local()._repr_mimebundle_()["text/html"]
        self.local.value = f'<div style="{FONT};margin:4px 0">{escape(LOCAL)}</div>{said}'
        parts.hide(self.local, azure)
        parts.hide(self.azure, not azure)
        if azure and self._azure is None:
            self._build_azure()
        self.changed()

    def _build_azure(self) -> None:
        from .computing import Computing
        from .places import Places
        from .signing import SignIn

        computing = Computing(self)
        places = Places(self, computing.load)

        def signed_in() -> None:
            places.load()

        signing = SignIn(self, signed_in)
        self._azure = (signing, places, computing)
        heads = [
            parts.html(f'<h4 style="margin:10px 0 2px">{name}</h4>') for name in ("Sign-in", "Workspace", "Compute")
        ]
        pairs = zip(heads, (signing.widget, places.widget, computing.widget), strict=True)
        self.azure.children = tuple(widget for pair in pairs for widget in pair)
        if self.kept("sign_in") in SILENT:
            signing.sign_in()
