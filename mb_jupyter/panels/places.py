"""Subscription, resource group, workspace and region in the Environment step: chosen, or a new workspace made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mb_jupyter import cloud

from . import parts

if TYPE_CHECKING:
    from .environment import Environment

NEW = ""
REGION = "The region close to you or to your customers: pictures travel there, and the law of the place holds"


class Places:
    """The place to train in; ``chosen`` is told when there is another workspace."""

    def __init__(self, step: Environment, chosen: Callable[[], None]) -> None:
        self._step, self._chosen = step, chosen
        self._regions: list[Any] = []
        self.subscription = parts.choice("Subscription", [("sign in first", "")], "")
        self.workspace = parts.choice("Workspace", [("make a new one", NEW)], NEW)
        self.name = parts.text("Workspace name", placeholder="3 to 33 letters, digits, hyphens")
        self.group = parts.completed("Resource group", step.kept("resource_group"), placeholder="a new or existing one")
        self.region = parts.completed("Region", step.kept("region"), placeholder="westeurope", hint=REGION)
        self.findings = parts.html()
        self.button = parts.button("Create workspace", "Make the workspace in Azure; it takes minutes", style="primary")
        self.new = parts.column(
            parts.Findings(self.name, lambda name: cloud.check_workspace_name(name) if name else []).widget,
            parts.Findings(self.group, lambda name: cloud.check_resource_group_name(name) if name else []).widget,
            self.region,
            self.findings,
            parts.row(self.button),
        )
        step.observe(self.subscription, self._subscribed)
        step.observe(self.workspace, self._picked)
        for field in (self.name, self.group, self.region):
            step.observe(field, lambda _: self.renew())
        step.on(self.button, self.create)
        self.made = parts.html()
        self.widget = parts.column(self.subscription, self.workspace, self.made, self.new)
        self.renew()

    @property
    def wanted(self) -> cloud.AzureWorkspace:
        """The workspace that the fields describe."""
        return cloud.AzureWorkspace(
            self.name.value.strip(), self.group.value.strip(), self.subscription.value or "",
            self.region.value.strip(), self._step.account,
        )  # fmt: skip

    def renew(self) -> None:
        """Say what is wrong, and let the button be pressed only when nothing is."""
        wanted, found = self.wanted, list(self.wanted.findings(self._regions))
        # what a name lacks stands under its field, and what is empty is not called wrong
        above = cloud.check_workspace_name(wanted.name) + cloud.check_resource_group_name(wanted.resource_group)
        fields = (("a workspace name", wanted.name), ("a resource group", wanted.resource_group),
                  ("a region", wanted.region))  # fmt: skip
        needed = [] if self._step.account else ["somebody who is signed in"]
        needed += [what for what, value in fields if not value]
        shown = [each for each in found if each not in above and wanted.region and wanted.subscription]
        if needed:
            shown.append(cloud.Finding("info", f"Still needed: {', '.join(needed)}."))
        self.findings.value = parts.said(shown)
        wrong = bool(needed) or any(each.severity == "error" for each in found)
        self.button.disabled = self._step.making or wrong

    # -- lists -------------------------------------------------------------------------------------------

    def load(self) -> None:
        """List the subscriptions of who is signed in, and go on with the one used before."""
        account = self._step.account
        assert account is not None

        def done(found: Any) -> None:
            options = [(f"{each.name} ({each.id})", each.id) for each in found] or [("none", "")]
            before = self._step.kept("subscription")
            ids = [value for _, value in options]
            self._step.fill(self.subscription, options, before if before in ids else ids[0])
            self._subscribed(self.subscription.value)

        self._step.work(lambda: cloud.subscriptions(account), done, says="Asking Azure for the subscriptions")

    def _subscribed(self, subscription: str) -> None:
        account = self._step.account
        if self._step.filling or account is None or not subscription:
            return
        self._step.keep(subscription=subscription)

        def ask() -> tuple[Any, ...]:
            with ThreadPoolExecutor(3) as pool:
                calls = (cloud.workspaces, cloud.resource_groups, cloud.regions)
                return tuple(each.result() for each in [pool.submit(call, account, subscription) for call in calls])

        self._step.work(ask, lambda found: self._list(*found), says="Asking Azure for workspaces and regions")

    def _list(self, workspaces: Any, groups: Any, regions: Any) -> None:
        self._regions = list(regions)
        self.group.options = tuple(each.name for each in groups)
        self.region.options = tuple(each.name for each in regions)
        self._known = {f"{each.resource_group}/{each.name}": each for each in workspaces}
        options = [(f"{each.name} ({each.resource_group}, {each.region})", key) for key, each in self._known.items()]
        before = f"{self._step.kept('resource_group')}/{self._step.kept('workspace')}"
        chosen = before if before in self._known else NEW
        self._step.fill(self.workspace, [*options, ("make a new one", NEW)], chosen)
        self._picked(chosen)

    def _picked(self, key: str | None) -> None:
        if self._step.filling:
            return
        parts.hide(self.new, bool(key))
        if key:
            found = self._known[key]
            self._step.keep(workspace=found.name, resource_group=found.resource_group, region=found.region)
            self._step.choose()
        else:
            self._step.keep(workspace="")
        self.renew()
        self._chosen()

    # -- making ------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the workspace, in a thread, and choose it."""
        wanted = self.wanted
        self._step.making = True
        self.made.value = ""
        self.renew()

        def done(made: cloud.AzureWorkspace) -> None:
            self._step.making = False
            text = f"The workspace {made.name} was created in {made.region}."
            self.made.value = parts.said([cloud.Finding("info", text)])
            self._step.keep(workspace=made.name, resource_group=made.resource_group, region=made.region)
            self._step.choose()
            self._subscribed(self.subscription.value)

        def failed(_: Exception) -> None:
            self._step.making = False
            self.renew()

        says = f"Making the workspace {wanted.name}"
        self._step.work(lambda: wanted.create(self._step.progress.say), done, says=says, failed=failed)
