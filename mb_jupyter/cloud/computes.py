"""A compute: what is wrong with it before anything is asked, how it is made, mended and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mb_jupyter.errors import AzureError

from .allowed import if_allowed
from .catalogue import CATALOGUE, DEFAULT, Size, find, nearest, spelt
from .listing import Listing
from .names import AZURE, Finding, check_compute_name, free_name, require
from .sizes import PRIORITIES, region_sizes

if TYPE_CHECKING:
    from mb_jupyter.azureml import Connection
    from mb_jupyter.azureml.computes import ComputeFacts

Progress = Callable[[str], None]
QUOTA = "https://ml.azure.com (Manage, Quota) takes requests for more"
MEANINGS = {
    "ClusterCoreQuotaReached": "the quota of vCPUs is used up",
    "ClusterMinNodesExceedCoreQuota": "the least number of nodes needs more vCPUs than the quota has",
    "QuotaExceeded": "a quota is used up",
    "RequestDisallowedByPolicy": "a policy of your organisation forbids it",
    "AuthorizationFailed": "the account may not do it",
    "AllocationFailed": "the region has no such machine free at the moment",
    "OverconstrainedAllocationRequest": "the region has no such machine free at the moment",
    "SkuNotAvailable": "the region does not offer that size to this subscription",
}
"""Azure's code -> what it means."""


def computes(connection: Connection) -> Listing[ComputeFacts]:
    """Return the computes of the workspace."""
    from mb_jupyter.azureml.computes import computes as ask

    found = ask(connection)
    rows = [
        (
            c.name,
            spelt(c.size) or c.kind,
            c.priority,
            state_of(c),
            f"{c.nodes} of {c.max_nodes}",
            "by mb_jupyter" if c.ours else "",
        )
        for c in found
    ]
    broken = [facts for facts in found if facts.errored]
    return Listing(
        "Computes",
        found,
        ("Compute", "Size", "Priority", "State", "Nodes", "Made"),
        rows,
        said=f"{len(found)} in the workspace {connection.place.workspace}.",
        notes=[
            *(
                f"{c.name} is in an errored state: {told_errors(c)} Mend it: %mb_compute recreate {c.name}"
                for c in broken
            ),
            *(f"{c.name}: {told_node_errors(c)}" for c in found if c.node_errors),
        ],
    )


def state_of(facts: ComputeFacts) -> str:
    """Return in a word whether jobs can be sent to a compute."""
    return "errored" if facts.errored else "ready" if facts.ready else facts.state.lower()


def told_errors(facts: ComputeFacts) -> str:
    """Return Azure's own message in full, and what its code means where that is known."""
    if not facts.errors:
        return f"Azure calls it {facts.state} and gives no reason."
    return _told(facts.errors)


def told_node_errors(facts: ComputeFacts) -> str:
    """Return why the latest nodes could not be had, in Azure's own words; empty when they could."""
    return f"Its latest nodes could not be had: {_told(facts.node_errors)}" if facts.node_errors else ""


def _told(errors: Iterable[tuple[str, str]]) -> str:
    return " ".join(
        f"{message.rstrip('.')}. ({code}{': ' + MEANINGS[code] if code in MEANINGS else ''})"
        for code, message in errors
    )


@dataclass(frozen=True)
class Compute:
    """A compute as it is wanted: nothing happens before :meth:`create`.

    It goes down to ``min_nodes`` when it has been idle for ``idle_minutes``; with 0 nodes it costs nothing.
    """

    name: str
    size: str = DEFAULT
    priority: str = "low-priority"
    max_nodes: int = 1
    min_nodes: int = 0
    idle_minutes: float = 5
    connection: Connection | None = field(default=None, repr=False, compare=False)

    def findings(self, offered: Sequence[Size] | None = None) -> list[Finding]:
        """Return all that is wrong, in one list; nothing is asked of the network.

        ``offered`` are the sizes of the region, see :func:`mb_jupyter.cloud.sizes`.
        """
        found = check_compute_name(self.name) + self._size_findings(offered) + self._node_findings()
        if self.priority not in PRIORITIES:
            found.append(
                Finding("error", f"There is no priority {self.priority!r}; there are {' and '.join(PRIORITIES)}.")
            )
        else:
            found.append(Finding("info", f"{self.priority} means {PRIORITIES[self.priority]}."))
        return found

    def _size_findings(self, offered: Sequence[Size] | None) -> list[Finding]:
        known = CATALOGUE if offered is None else offered
        size, listed = find(self.size, known), find(self.size)
        other = nearest(self.size, known)
        instead = f" The nearest offered is {other.name}." if other else ""
        if listed is not None and listed.retired and (size is None or offered is None):
            return [Finding("error", f"The size {listed.name} is {listed.retired}.{instead}", AZURE)]
        if size is None and offered is not None:
            return [Finding("error", f"The region does not offer the size {self.size}.{instead}", AZURE)]
        if size is None:
            return [
                Finding("warning", f"The size {self.size} is not in the catalogue; the region may have it.{instead}")
            ]
        found = [] if size.gpus else [Finding("warning", f"{size.name} has no GPU: training there is slow.{instead}")]
        return found + self._quota_findings(size)

    def _quota_findings(self, size: Size) -> list[Finding]:
        low = self.priority == "low-priority"
        if low and size.low_priority is False:
            return [Finding("error", f"{size.name} cannot be had with low priority; take dedicated.", AZURE)]
        possible, now = size.nodes_within_quota(low, left=False), size.nodes_within_quota(low)
        needs = f"a node of {size.name} needs {size.vcpu} vCPUs"
        total = size.low_priority_quota if low else size.quota
        if possible == 0:
            return [Finding("error", f"The {self.priority} quota is {total} vCPUs, {needs}; {QUOTA}.", AZURE)]
        found = []
        if now == 0:
            left = size.low_priority_quota_left if low else size.quota_left
            found.append(Finding("warning", f"Of the {self.priority} quota {left} vCPUs are left now, {needs}.", AZURE))
        if possible is not None and possible < self.max_nodes:
            found.append(Finding("warning", f"The quota is enough for {possible} of {self.max_nodes} nodes.", AZURE))
        return found

    def _node_findings(self) -> list[Finding]:
        found = []
        if not 0 <= self.min_nodes <= self.max_nodes or self.max_nodes < 1:
            told = f"{self.min_nodes} to {self.max_nodes}"
            found.append(
                Finding("error", f"The nodes are {told}; at least 0, at most 1 or more, and not the other way.")
            )
        elif self.min_nodes:
            found.append(
                Finding("warning", f"{self.min_nodes} nodes stay up and cost money day and night, used or not.")
            )
        if self.idle_minutes < 1:
            found.append(Finding("error", f"An idle time of {self.idle_minutes:g} minutes is too short; at least 1."))
        return found

    def facts(self) -> ComputeFacts | None:
        """Return how the service describes it, None when there is none."""
        from mb_jupyter.azureml.computes import compute

        return compute(self._connected, self.name)

    def create(self, progress: Progress | None = None) -> ComputeFacts:
        """Make it and return what was made; raises with both ways out when it ends in an errored state."""
        require(self.findings(), f"The compute {self.name}")
        there = self.facts()
        if there is not None and there.errored:
            raise self._errored(there)
        if there is not None:
            raise AzureError(
                f"There is a compute {there.name} already ({spelt(there.size)}, {there.priority}, {state_of(there)}).",
                f"Use it: %mb_compute use {there.name}.",
                f"Take another name, such as {self._free()}.",
            )
        require(self.findings(self._offered(progress)), f"The compute {self.name}")
        return self._make(progress)

    def recreate(self, progress: Progress | None = None) -> ComputeFacts:
        """Delete it, wait until it is gone, make it again and check its size; its network, identity and tags stay."""
        from mb_jupyter.azureml import computes as service

        before = service.described(self._connected, self.name)
        if before is None:
            raise self._absent()
        require(self.findings(self._offered(progress)), f"The compute {self.name}")
        service.delete(self._connected, self.name, progress)
        service.wait_until_gone(self._connected, self.name, progress)
        return self._make(progress, before)

    def delete(self, progress: Progress | None = None) -> None:
        """Delete it and wait until it is gone."""
        from mb_jupyter.azureml import computes as service

        if self.facts() is None:
            raise self._absent()
        service.delete(self._connected, self.name, progress)
        service.wait_until_gone(self._connected, self.name, progress)

    @classmethod
    def existing(cls, name: str, connection: Connection) -> Compute:
        """Return the compute that is there, with its own size, priority, nodes and idle time."""
        from mb_jupyter.azureml.computes import minutes_of

        wanted = cls(name, connection=connection)
        facts = wanted.facts()
        if facts is None:
            raise wanted._absent()
        return replace(
            wanted,
            name=facts.name,
            size=spelt(facts.size),
            priority=facts.priority or wanted.priority,
            min_nodes=facts.min_nodes,
            max_nodes=max(facts.max_nodes, 1),
            idle_minutes=minutes_of(facts.idle) or wanted.idle_minutes,
        )

    @property
    def _connected(self) -> Connection:
        if self.connection is None:
            raise AzureError("The compute has no workspace.", "Choose one first: %mb_workspace use NAME.")
        return self.connection

    def _offered(self, progress: Progress | None) -> list[Size] | None:
        connection = self._connected
        ask = partial(region_sizes, connection.arm, connection.place.subscription, self._region)
        return if_allowed(ask, "whether the region offers the size, and the quota", progress)

    @property
    def _region(self) -> str:
        return self._connected.facts.region

    def _make(self, progress: Progress | None, before: dict[str, Any] | None = None) -> ComputeFacts:
        from mb_jupyter.azureml import computes as service

        body = service.body_of(
            self._region,
            size=self.size,
            priority=self.priority,
            min_nodes=self.min_nodes,
            max_nodes=self.max_nodes,
            idle_seconds=round(self.idle_minutes * 60),
        )
        body = service.body_again(body, before) if before else body
        try:
            service.create(self._connected, self.name, body, progress)
        except AzureError as error:
            there = self.facts()
            if there is not None and there.errored:
                raise self._errored(there, error) from error
            raise
        made = self.facts()
        if made is None:
            raise AzureError(f"Azure said that {self.name} was made, but it is not there.", "Run the cell again.")
        if made.errored:
            raise self._errored(made)
        if made.size.casefold() != self.size.casefold():
            raise AzureError(
                f"Azure made {self.name} with the size {spelt(made.size)} instead of {self.size}.",
                f"Take a name that was never used, such as {self._free()}: Azure keeps the size with the name.",
            )
        return made

    def _errored(self, facts: ComputeFacts, error: AzureError | None = None) -> AzureError:
        details = "\n".join([error.details] if error else []) or told_errors(facts)
        code = facts.errors[0][0] if facts.errors else error.code if error else ""
        return errored(facts, self._free(), code=code, details=details)

    def _absent(self) -> AzureError:
        names = ", ".join(each.name for each in computes(self._connected)) or "none"
        return AzureError(
            f"There is no compute {self.name} in the workspace.",
            f"There are: {names}.",
            f"Make it: %mb_compute create {self.name}.",
            code="ComputeNotFound",
        )

    def _free(self) -> str:
        from mb_jupyter.azureml.computes import computes as ask

        return free_name(self.name, [self.name, *(each.name for each in ask(self._connected))])


def errored(facts: ComputeFacts, free: str, *, code: str = "", details: str = "") -> AzureError:
    """Return the error for a compute that is there but can run nothing, with both ways out."""
    return AzureError(
        f"The compute {facts.name} exists in an errored state: {told_errors(facts)}",
        f"Make it anew: %mb_compute recreate {facts.name}.",
        f"Leave it and take another name: %mb_compute create {free}.",
        details or told_errors(facts),
        code=code,
    )


def require_ready(connection: Connection, name: str) -> ComputeFacts:
    """Return the compute when jobs can be sent there; raises else, with what to do. For before every submit."""
    from mb_jupyter.azureml.computes import computes as ask

    found: Iterable[ComputeFacts] = ask(connection)
    known = {each.name.casefold(): each for each in found}
    facts = known.get(name.casefold())
    if facts is None:
        raise AzureError(
            f"There is no compute {name} in the workspace {connection.place.workspace}.",
            f"Make it: %mb_compute create {name}.",
            f"There are: {', '.join(each.name for each in known.values()) or 'none'}.",
            code="ComputeNotFound",
        )
    if facts.errored:
        raise errored(facts, free_name(name, known))
    return facts
