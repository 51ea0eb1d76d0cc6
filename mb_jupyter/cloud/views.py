"""One workspace or one compute as it is shown; and how a workspace is found by what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import ACCENT, BAD, GOOD, TEXT, Markup, card, escape
from mb_jupyter.errors import AzureError

from .catalogue import spelt
from .computes import Compute, computes, state_of, told_errors, told_node_errors
from .listing import Listing, pairs
from .place import Chosen
from .workspaces import subscriptions, workspaces

if TYPE_CHECKING:
    from mb_jupyter.azureml import Account, Connection, WorkspaceFacts
    from mb_jupyter.azureml.computes import ComputeFacts

ABSENT = "WorkspaceNotFound"  # the code of our own error


@dataclass(frozen=True)
class WorkspaceView:
    """The chosen Azure workspace with its computes."""

    account: Account
    facts: WorkspaceFacts
    place: Chosen
    computes: Listing[ComputeFacts]

    @classmethod
    def of(cls, account: Account, connection: Connection, place: Chosen) -> WorkspaceView:
        """Ask the service."""
        return cls(account, connection.facts, place, computes(connection))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows: list[tuple[str, object]] = [
            ("workspace", self.facts.name),
            ("resource group", self.place.resource_group),
            ("region", self.facts.region),
            ("subscription", self.place.subscription),
            ("signed in as", f"{self.account.name} (tenant {self.account.tenant}, by {self.account.how})"),
            ("chosen compute", self.place.compute or "none; %mb_compute use NAME"),
            ("portal", studio(self.facts)),
        ]
        inside = self.computes._repr_mimebundle_()
        text, _ = pairs(rows)
        link = f'<a href="{escape(studio(self.facts))}" style="color:{TEXT[ACCENT]}" target="_blank" rel="noopener">'
        link += "Azure Machine Learning studio</a>"
        _, page = pairs([*rows[:-1], ("portal", Markup(link))])
        whole = f"Azure workspace {self.facts.name}\n{text}\n{inside['text/plain']}"
        return {"text/plain": whole, "text/html": card("Azure workspace", page) + inside["text/html"]}


def studio(facts: WorkspaceFacts) -> str:
    """Return the address of the workspace in Azure Machine Learning studio."""
    return f"https://ml.azure.com/?wsid={facts.id}&tid={facts.tenant}"


@dataclass(frozen=True)
class ComputeView:
    """A compute as the service describes it."""

    facts: ComputeFacts
    workspace: str

    @classmethod
    def of(cls, name: str, connection: Connection) -> ComputeView:
        """Ask the service."""
        wanted = Compute.existing(name, connection)
        facts = wanted.facts()
        assert facts is not None
        return cls(facts, connection.place.workspace)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        facts = self.facts
        rows: list[tuple[str, object]] = [
            ("state", state_of(facts)),
            ("size", spelt(facts.size) or facts.kind),
            ("priority", facts.priority),
            ("nodes", f"{facts.nodes} up ({facts.running_nodes} at work); {facts.min_nodes} to {facts.max_nodes}"),
            ("idle before it goes", facts.idle.removeprefix("PT").lower()),
            *([("interrupted nodes", str(facts.preempted_nodes))] if facts.preempted_nodes else []),
        ]
        said = f"Compute {facts.name} in {self.workspace}"
        text, page = pairs(rows)
        text = f"{said}\n{text}"
        if facts.errored:
            mend = f"{told_errors(facts)} Mend it: %mb_compute recreate {facts.name}, or make another name."
            text, page = f"{text}\n{mend}", f"{page}<div>{escape(mend)}</div>"
        if note := told_node_errors(facts):
            text, page = f"{text}\n{note}", f"{page}<div>{escape(note)}</div>"
        return {"text/plain": text, "text/html": card(said, page, colour=BAD if facts.errored else GOOD)}


def subscription_of(account: Account, wanted: str) -> str:
    """Return the id of the subscription that is meant: by its id, by its name, or the only one there is."""
    found = subscriptions(account)
    if not wanted and len(found) == 1:
        return found[0].id
    meant = [each for each in found if wanted.casefold() in (each.id.casefold(), each.name.casefold())]
    if len(meant) == 1:
        return meant[0].id
    named = ", ".join(f"{each.name} ({each.id})" for each in found) or "none"
    raise AzureError(
        f"{account.name} sees no subscription {wanted}." if wanted else "It is not said which subscription is meant.",
        f"Name one with --subscription: {named}.",
    )


def locate(account: Account, place: Chosen) -> Chosen:
    """Return the place with what was left out: the subscription, the resource group and the region."""
    place = place.over(subscription=subscription_of(account, place.subscription))
    found = workspaces(account, place.subscription, place.resource_group)
    if not place.workspace and len(found) == 1:
        place = place.over(workspace=found[0].name)
    meant = [each for each in found if each.name.casefold() == place.workspace.casefold()]
    if len(meant) == 1:
        only = meant[0]
        return place.over(workspace=only.name, resource_group=only.resource_group, region=only.region)
    if meant:
        groups = ", ".join(each.resource_group for each in meant)
        raise AzureError(
            f"There are {len(meant)} workspaces {place.workspace}.", f"Name the resource group: one of {groups}."
        )
    there = ", ".join(each.name for each in found) or "none"
    what = f"There is no workspace {place.workspace} there." if place.workspace else "It is not said which workspace."
    make = "Make one: %mb_workspace create NAME --region REGION."
    raise AzureError(what, f"There are: {there}.", make, code=ABSENT)
