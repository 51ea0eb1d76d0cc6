"""What this library has made in Azure: found by its tag, told with what still costs, removed when confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mb_jupyter.errors import AzureError

from .catalogue import spelt
from .computes import Compute
from .listing import Listing
from .workspaces import DELETED_DAYS, AzureWorkspace

if TYPE_CHECKING:
    from mb_jupyter.azureml import Account, Connection
    from mb_jupyter.azureml.arm import Arm
    from mb_jupyter.azureml.resources import FoundWorkspace

Progress = Callable[[str], None]
NOTHING = "nothing by itself"
COSTS = {
    "microsoft.storage/storageaccounts": "by what is kept in it: pictures, models, logs",
    "microsoft.keyvault/vaults": "almost nothing",
    "microsoft.insights/components": "by what is logged, mostly nothing",
    "microsoft.operationalinsights/workspaces": "by what is logged, mostly nothing",
    "microsoft.containerregistry/registries": "a fixed sum a day while it is there",
}
"""Kind of resource -> what it costs while it is only there."""
BY_INSIGHTS = {
    "microsoft.alertsmanagement/smartdetectoralertrules": "failure anomalies",
    "microsoft.insights/actiongroups": "application insights smart detection",
}
"""What Application Insights makes by itself, without our tag, and leaves: kind -> how its name begins."""
ORDER = ("compute", "workspace", "part", "resource group")


@dataclass(frozen=True)
class Leftover:
    """One thing that was made. ``costs_now`` is True when money runs while nothing is done with it."""

    kind: str  # of ORDER
    name: str
    resource_group: str
    what: str
    costs: str
    costs_now: bool = False
    id: str = ""
    with_workspace: str = ""  # goes with that workspace
    account: Account | None = field(default=None, repr=False, compare=False)


def leftovers(account: Account, subscription: str) -> Listing[Leftover]:
    """Return everything in a subscription that this library has made, with what each costs."""
    from mb_jupyter.azureml.arm import Arm
    from mb_jupyter.azureml.resources import resource_groups, workspaces

    arm = Arm(account.credential)
    with ThreadPoolExecutor(3) as pool:
        spaces, groups = pool.submit(workspaces, arm, subscription), pool.submit(resource_groups, arm, subscription)
        tagged = pool.submit(_tagged, arm, subscription)
        known = spaces.result()
        computes = [each for found in pool.map(lambda w: _computes(account, subscription, w), known) for each in found]
        ours = [group for group in groups.result() if group.ours]
        rest = tagged.result()
    found = list(computes)
    for space in known:
        if space.ours:
            said = f"workspace with {len(space.parts)} parts"
            found.append(Leftover("workspace", space.name, space.resource_group, said, NOTHING, account=account))
    found += [_part(each, known, account) for each in rest if str(each.get("id", "")).count("/") == 8]
    names = {(each.id.casefold()) for each in found if each.id}
    for space in known:
        if space.ours:  # its parts may not carry the tag
            found += [_part({"id": part}, known, account) for part in space.parts if part.casefold() not in names]
    found += [Leftover("resource group", g.name, g.name, "resource group", NOTHING, account=account) for g in ours]
    found.sort(key=lambda each: (ORDER.index(each.kind), each.resource_group, each.name))
    return _listing(found, subscription)


def _tagged(arm: Arm, subscription: str) -> list[dict[str, object]]:
    from mb_jupyter.azureml.resources import tagged

    return tagged(arm, subscription)


def _part(each: dict[str, object], spaces: Iterable[FoundWorkspace], account: Account) -> Leftover:
    path = str(each.get("id", ""))
    words = path.split("/")
    kind = "/".join(words[6:8])
    owner = next((w.name for w in spaces if path.casefold() in {part.casefold() for part in w.parts}), "")
    costs = COSTS.get(kind.casefold(), "see the portal")
    registry = kind.casefold() == "microsoft.containerregistry/registries"
    return Leftover("part", words[8], words[4], kind, costs, registry, path, owner, account)


def _computes(account: Account, subscription: str, space: FoundWorkspace) -> list[Leftover]:
    from mb_jupyter.azureml.computes import computes

    connection = _connection(account, subscription, space.resource_group, space.name)
    found = []
    for facts in computes(connection):
        if not facts.ours:
            continue
        running = facts.nodes > 0 or facts.min_nodes > 0
        costs = f"{facts.nodes} nodes are up and cost money now" if facts.nodes else NOTHING
        if facts.min_nodes:
            costs = f"{facts.min_nodes} nodes always stay up and cost money now"
        said = f"compute of {spelt(facts.size)}, {facts.priority}"
        found.append(
            Leftover("compute", facts.name, space.resource_group, said, costs, running, "", space.name, account)
        )
    return found


def _connection(account: Account, subscription: str, group: str, workspace: str) -> Connection:
    from mb_jupyter.azureml import Connection, Place

    return Connection(account.credential, Place(subscription, group, workspace, tenant=account.tenant))


def _listing(found: list[Leftover], subscription: str) -> Listing[Leftover]:
    rows = [(e.kind, e.name, e.resource_group, e.what, "yes" if e.costs_now else "", e.costs) for e in found]
    costing = sum(each.costs_now for each in found)
    said = f"{len(found)} made by mb_jupyter in the subscription {subscription}; {costing} cost money now."
    notes = [
        f"A deleted workspace keeps its name for {DELETED_DAYS} days unless it is deleted for good (--purge).",
        "Nothing was deleted. %mb_workspace cleanup --delete asks for each; -y answers yes to all.",
    ]
    columns = ("Kind", "Name", "Resource group", "What", "Costs now", "Costs")
    return Listing("What was made in Azure", found, columns, rows, said=said, notes=notes if found else [])


def remove(
    items: Iterable[Leftover], subscription: str, *, purge: bool = False, progress: Progress | None = None
) -> list[str]:
    """Delete what was confirmed, in the order in which it can be; return a sentence for each.

    A resource group is deleted only when nothing is left in it. What fails is told and stops nothing else.
    """
    said = []
    chosen = sorted(items, key=lambda each: ORDER.index(each.kind))
    spaces = {each.name for each in chosen if each.kind == "workspace"}
    for each in chosen:
        if each.kind == "part" and each.with_workspace in spaces:
            continue  # goes with its workspace
        try:
            said.append(_remove(each, subscription, purge, progress))
        except AzureError as error:
            said.append(f"{each.kind} {each.name} is still there: {error.cause} {error.fix}".rstrip())
    return said


def _remove(each: Leftover, subscription: str, purge: bool, progress: Progress | None) -> str:
    from mb_jupyter.azureml import Place
    from mb_jupyter.azureml import resources as service
    from mb_jupyter.azureml.arm import Arm

    assert each.account is not None
    if each.kind == "compute":
        connection = _connection(each.account, subscription, each.resource_group, each.with_workspace)
        Compute(each.name, connection=connection).delete(progress)
        return f"compute {each.name} is deleted."
    if each.kind == "workspace":
        space = AzureWorkspace(each.name, each.resource_group, subscription, account=each.account)
        space.delete(progress, parts=True, purge=purge)
        kept = "" if purge else f" Its name stays taken for {DELETED_DAYS} days."
        return f"workspace {each.name} is deleted with its parts.{kept}"
    arm = Arm(each.account.credential)
    if each.kind == "part":
        service.delete_resource(arm, each.id)
        return f"{each.what} {each.name} is deleted."
    place = Place(subscription, each.resource_group)
    left = [str(one.get("name")) for one in service.resources_in(arm, place) if not _by_insights(one)]
    if left:
        held = f"{len(left)} thing{'' if len(left) == 1 else 's'} ({', '.join(left[:5])})"
        return f"resource group {each.name} is kept: it still holds {held}."
    service.delete_resource_group(arm, place, progress)
    return f"resource group {each.name} is deleted."


def _by_insights(resource: dict[str, object]) -> bool:
    begin = BY_INSIGHTS.get(str(resource.get("type", "")).casefold())
    return begin is not None and str(resource.get("name", "")).casefold().startswith(begin)
