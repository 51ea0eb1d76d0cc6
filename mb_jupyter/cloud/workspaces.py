"""An Azure workspace: what is wrong with it before anything is asked, how it is made and removed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from mb_jupyter.errors import AzureError

from .allowed import if_allowed
from .listing import Listing
from .names import Finding, check_resource_group_name, check_workspace_name, free_name, require

if TYPE_CHECKING:
    from mb_jupyter.azureml import Account, Connection
    from mb_jupyter.azureml.resources import FoundWorkspace, Region, ResourceGroup, Subscription

Progress = Callable[[str], None]
CLOSE = "Choose a region close to you or to your customers: pictures travel there, and the law of the place holds."
NAME_TAKEN = ("Conflict", "BadRequest", "ResourceDeploymentFailure", "DeploymentFailed")
DELETED_DAYS = 14


def subscriptions(account: Account) -> Listing[Subscription]:
    """Return the subscriptions that the account can see."""
    from mb_jupyter.azureml.arm import Arm
    from mb_jupyter.azureml.resources import subscriptions as ask

    found = ask(Arm(account.credential))
    rows = [(each.name, each.id, each.state, each.tenant) for each in found]
    return Listing("Subscriptions", found, ("Name", "Id", "State", "Tenant"), rows, said=f"seen by {account.name}.")


def regions(account: Account, subscription: str) -> Listing[Region]:
    """Return the regions in which the subscription may have a workspace."""
    from mb_jupyter.azureml.arm import Arm
    from mb_jupyter.azureml.resources import regions as ask

    said: list[str] = []
    found = if_allowed(lambda: ask(Arm(account.credential), subscription), "the regions", said.append) or []
    rows = [(each.name, each.label, each.area) for each in found]
    return Listing("Regions", found, ("Region", "Name", "Area"), rows, said="".join(said), notes=[CLOSE])


def resource_groups(account: Account, subscription: str) -> Listing[ResourceGroup]:
    """Return the resource groups of a subscription."""
    from mb_jupyter.azureml.arm import Arm
    from mb_jupyter.azureml.resources import resource_groups as ask

    found = ask(Arm(account.credential), subscription)
    rows = [(each.name, each.region, "by mb_jupyter" if each.ours else "") for each in found]
    return Listing("Resource groups", found, ("Resource group", "Region", "Made"), rows)


def workspaces(account: Account, subscription: str, resource_group: str = "") -> Listing[FoundWorkspace]:
    """Return the Azure workspaces of a subscription, or of one resource group."""
    from mb_jupyter.azureml.arm import Arm
    from mb_jupyter.azureml.resources import workspaces as ask

    found = ask(Arm(account.credential), subscription, resource_group)
    rows = [(w.name, w.resource_group, w.region, w.kind, w.state, "by mb_jupyter" if w.ours else "") for w in found]
    columns = ("Workspace", "Resource group", "Region", "Kind", "State", "Made")
    return Listing("Azure workspaces", found, columns, rows, said=f"{len(found)} in the subscription {subscription}.")


@dataclass(frozen=True)
class AzureWorkspace:
    """A workspace as it is wanted: nothing happens before :meth:`create`."""

    name: str
    resource_group: str
    subscription: str
    region: str = ""
    account: Account | None = field(default=None, repr=False, compare=False)

    @property
    def connection(self) -> Connection:
        """A connection to it; raises ``AzureError`` without an account."""
        from mb_jupyter.azureml import Connection, Place

        if self.account is None:
            raise AzureError("Nobody is signed in.", "Sign in first: %mb_workspace use --sign-in cli.")
        place = Place(self.subscription, self.resource_group, self.name, self.region, self.account.tenant)
        return Connection(self.account.credential, place)

    def findings(self, known: Iterable[Region] = ()) -> list[Finding]:
        """Return all that is wrong, in one list; without ``known`` regions nothing is asked of the network."""
        found = check_workspace_name(self.name) + check_resource_group_name(self.resource_group)
        if not self.subscription:
            found.append(Finding("error", "No subscription is chosen.", "Azure"))
        if not self.region:
            found.append(Finding("error", f"No region is chosen. {CLOSE}", "Azure"))
            return found
        names = {region.name.casefold(): region for region in known}
        names |= {region.label.casefold(): region for region in known}
        if names and self.region.casefold() not in names:
            near = difflib.get_close_matches(self.region.casefold(), names, n=1, cutoff=0.5)
            hint = f"; did you mean {names[near[0]].name}?" if near else "."
            found.append(Finding("error", f"There is no region {self.region} for workspaces{hint}", "Azure"))
        elif not any(finding.severity == "error" for finding in found):
            found.append(Finding("info", f"Everything will be in {self.region}. {CLOSE}"))
        return found

    def create(self, progress: Progress | None = None) -> AzureWorkspace:
        """Make it, with its resource group when that is not there, and return it; takes minutes."""
        from mb_jupyter.azureml import resources

        say = progress or (lambda text: None)
        require(self.findings(), f"The workspace {self.name}")
        connection = self.connection
        say("looking at regions and providers")
        known = if_allowed(lambda: resources.regions(connection.arm, self.subscription), "the region", say) or []
        require(self.findings(known), f"The workspace {self.name}")
        names = {label.casefold(): r.name for r in known for label in (r.name, r.label)}
        region = names.get(self.region.casefold(), self.region.casefold().replace(" ", ""))
        wanted = replace(self, region=region)
        connection = wanted.connection
        group = resources.resource_group(connection.arm, connection.place)
        if group is not None and resources.workspace(connection.arm, connection.place) is not None:
            raise AzureError(
                f"There is a workspace {self.name} in {self.resource_group} already.",
                f"Use it: %mb_workspace use {self.name} --resource-group {self.resource_group}.",
                f"Take another name, such as {free_name(self.name + '-b', [self.name], check_workspace_name)}.",
            )
        wanted._register(connection, say)
        if group is None:
            say(f"making the resource group {self.resource_group}")
            resources.create_resource_group(connection.arm, connection.place)
        try:
            resources.create_workspace(connection, say)
        except AzureError as error:
            raise wanted._explained(error, connection, made_group=group is None) from error
        return wanted

    def _register(self, connection: Connection, say: Progress) -> None:
        from mb_jupyter.azureml import resources

        ask = partial(resources.provider_states, connection.arm, self.subscription)
        states = if_allowed(ask, "whether the providers are registered", say) or {}
        missing = tuple(name for name, state in states.items() if state != "Registered")
        if missing:
            say(f"registering {', '.join(missing)}")
            resources.register_providers(connection.arm, self.subscription, missing, say)

    def _explained(self, error: AzureError, connection: Connection, *, made_group: bool) -> AzureError:
        """Return the error with what is half made, and with a way out when the name may be taken."""
        from mb_jupyter.azureml.resources import resources_in

        try:
            left = (
                [str(each.get("name")) for each in resources_in(connection.arm, connection.place)] if made_group else []
            )
        except AzureError:
            left = []
        there = [f"the resource group {self.resource_group}"] if made_group else []
        half = "; ".join(there + ([f"in it {', '.join(left)}"] if left else []))
        alternative = error.alternative
        if error.code in NAME_TAKEN:
            other = free_name(f"{self.name}-b", [self.name], check_workspace_name)
            alternative = (
                f"A workspace of that name that was deleted within {DELETED_DAYS} days keeps its name: "
                f"take another, such as {other}, or delete the old one for good: "
                f"%mb_workspace delete {self.name} --resource-group {self.resource_group} --purge."
            )
        cause = f"{error.cause} Made already, and left: {half}." if half else error.cause
        fix = error.fix if not half else f"{error.fix} The same command again goes on from there."
        return type(error)(cause, fix, alternative, error.details, code=error.code, status=error.status)

    def delete(self, progress: Progress | None = None, *, parts: bool = True, purge: bool = False) -> None:
        """Delete it; with ``parts`` its storage, keys and logs too, with ``purge`` so that its name is free at once.

        ``purge`` also frees the name of one that was deleted already.
        """
        from mb_jupyter.azureml import resources

        connection = self.connection
        if resources.workspace(connection.arm, connection.place) is None:
            if purge and resources.purge_workspace(connection, progress):
                return
            raise AzureError(
                f"There is no workspace {self.name} in {self.resource_group}{', nor a deleted one' if purge else ''}.",
                "List them: %mb_workspace list.",
                "One that was deleted goes with --purge and its resource group: --resource-group GROUP.",
            )
        resources.delete_workspace(connection, parts=parts, purge=purge, progress=progress)
