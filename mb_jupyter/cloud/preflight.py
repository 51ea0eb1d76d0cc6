"""What stands between a cell and its model in Azure: told in seconds, a line each, with its fix.

Nothing is changed and nothing is uploaded. The questions are asked at once; an answer that does not
come in time is said to be missing and holds nothing up.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import BAD, GOOD, TEXT, WARN, Markup, card, escape, table, text_table
from mb_jupyter.errors import AzureError, MBError

from .catalogue import Size, find, nearest, spelt
from .computes import QUOTA, state_of, told_errors, told_node_errors
from .listing import money
from .names import free_name
from .place import Chosen
from .sizes import region_sizes

if TYPE_CHECKING:
    from mb_jupyter.azureml import Account, Connection, OnCode, WorkspaceFacts
    from mb_jupyter.azureml.computes import ComputeFacts

SECONDS = 9.0  # within which the answers must be there; ten are promised
SUBMIT = {
    "jobs/write": ("jobs/write",),
    "codes/write": ("metadata/codes/versions/write", "codes/versions/write"),
}
"""What a submission takes -> its names below ``Microsoft.MachineLearningServices/workspaces/``; one is enough."""
OPTIONAL = ("role", "provider", "size")  # a run can do without the answers
SLOW, FAST = 10e6, 100e6  # bits a second: between them lie most lines up
WORDS = {True: ("ok", GOOD), False: ("stop", BAD), None: ("note", WARN)}


@dataclass(frozen=True)
class Check:
    """One line: ``ok`` is False when the run could not succeed, None when it is unknown or only worth knowing."""

    name: str
    ok: bool | None
    said: str
    fix: str = ""


@dataclass(frozen=True)
class Wanted:
    """What the run would need. ``remote`` data is in Azure already; ``pictures`` and ``data_bytes`` go up.

    ``max_minutes`` are those of the training, ``job_minutes`` those of the whole job (default: the same).
    """

    nodes: int = 1
    max_minutes: float | None = None
    job_minutes: float | None = None
    max_cost: float | None = None
    pictures: int | None = None
    data_bytes: int | None = None
    remote: bool = False


@dataclass(frozen=True)
class Preflight:
    """The lines, how long they took, and what is known of the price."""

    checks: tuple[Check, ...]
    seconds: float
    price_per_hour: float | None = None
    currency: str = ""
    estimate: float | None = None
    region: str = ""
    compute: ComputeFacts | None = field(default=None, repr=False)
    gpus: int | None = None
    has_closed_nodes: bool = False

    @property
    def ok(self) -> bool:
        """Tell whether nothing is known that would stop the run."""
        return all(check.ok is not False for check in self.checks)

    def require(self) -> Preflight:
        """Raise ``AzureError`` with every line that would stop the run; return itself else."""
        stops = [check for check in self.checks if check.ok is False]
        if stops:
            first, *others = stops
            more = "; ".join(f"{check.name}: {check.said}" for check in others)
            raise AzureError(
                f"{first.name}: {first.said}", first.fix, f"Also: {more}" if more else "",
                "\n".join(f"{c.name}: {c.said} {c.fix}".rstrip() for c in self.checks),
            )  # fmt: skip
        return self

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = [(WORDS[c.ok][0], c.name, c.said, c.fix) for c in self.checks]
        verdict = "Ready" if self.ok else "Not ready"
        said = f"{verdict}: {len(rows)} checks in {self.seconds:.1f} s, nothing was changed."
        columns = ("", "Check", "Found", "Fix")
        marked = [
            (Markup(f'<b style="color:{TEXT[WORDS[c.ok][1]]}">{WORDS[c.ok][0]}</b>'), c.name, c.said, c.fix)
            for c in self.checks
        ]
        text = f"Pre-flight: {said}\n{text_table(columns, rows)}"
        page = f"<div>{escape(said)}</div>{table(columns, marked)}"
        return {"text/plain": text, "text/html": card("Pre-flight", page, colour=GOOD if self.ok else BAD)}


def preflight(
    place: Chosen, wanted: Wanted | None = None, *, on_code: OnCode | None = None, seconds: float = SECONDS
) -> Preflight:
    """Check everything a run in Azure needs; never raises for what it finds, ``require`` does."""
    return _Flight(place, wanted or Wanted(), on_code, seconds).run()


class _Flight:
    """One pre-flight: the questions are asked in two waves, the second needs the region from the first."""

    def __init__(self, place: Chosen, wanted: Wanted, on_code: OnCode | None, seconds: float) -> None:
        self.place, self.wanted, self.on_code = place, wanted, on_code
        self.begun = time.monotonic()
        self.until = self.begun + seconds
        self.checks: list[Check] = []
        self.facts: WorkspaceFacts | None = None
        self.compute: ComputeFacts | None = None
        self.size: Size | None = None
        self.price: float | None = None
        self.estimate: float | None = None

    def run(self) -> Preflight:
        pool = ThreadPoolExecutor(8, "mb preflight")
        try:
            connection = self._signed_in(pool)
            if connection is not None:
                self._ask(pool, connection)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # what is late is not waited for
        self._data()
        self._cost()
        return Preflight(
            tuple(self.checks),
            time.monotonic() - self.begun,
            self.price,
            self.size.currency if self.size else "",
            self.estimate,
            self.facts.region if self.facts else "",
            self.compute,
            self.size.gpus if self.size else None,
            self.facts is not None and self.facts.has_closed_nodes,
        )

    def say(self, name: str, ok: bool | None, said: str, fix: str = "") -> None:
        self.checks.append(Check(name, ok, said, fix))

    def answer(self, name: str, future: Future[Any]) -> Any:
        """Return what was asked for, or None with a line that says why it is missing."""
        try:
            return future.result(max(self.until - time.monotonic(), 0.01))
        except TooLate:
            ok = None if name in OPTIONAL else False
            self.say(name, ok, "Azure has not answered in time.", "Try again; the run itself waits longer.")
        except MBError as error:
            if getattr(error, "status", None) == 403 and name in OPTIONAL:
                said = "not checked: the account may not ask this of the subscription"
                self.say(name, None, said, "The run does not need it; the role Reader on the subscription would do.")
            elif name in OPTIONAL:
                self.say(name, None, f"not checked: {error.cause}", "The run does not need it.")
            else:
                self.say(name, False, error.cause, error.fix)
        return None

    def _signed_in(self, pool: ThreadPoolExecutor) -> Connection | None:
        from mb_jupyter.azureml import Connection, sign_in

        if not self.place.complete:
            try:
                self.place.connect()
            except MBError as error:
                self.say("sign-in", False, error.cause, error.fix)
            return None
        how, tenant = self.place.sign_in, self.place.tenant or None
        account: Account | None = self.answer("sign-in", pool.submit(sign_in, how, tenant, self.on_code))
        if account is None:
            return None
        self.say("sign-in", True, f"{account.name}, tenant {account.tenant}, by {account.how}")
        return Connection(account.credential, self.place.place)

    def _ask(self, pool: ThreadPoolExecutor, connection: Connection) -> None:
        from mb_jupyter.azureml import computes, resources

        arm, place = connection.arm, connection.place
        facts = pool.submit(lambda: connection.facts)
        allowed = pool.submit(resources.permissions, arm, place.workspace_path)
        states = pool.submit(resources.provider_states, arm, place.subscription, (resources.PROVIDER,))
        found = pool.submit(computes.computes, connection)
        self.facts = self.answer("workspace", facts)
        if self.facts is None:
            return
        sizes = pool.submit(region_sizes, arm, place.subscription, self.facts.region)
        self._role(self.answer("role", allowed))
        self._provider(self.answer("provider", states))
        ready = self.facts.state.casefold() == "succeeded"
        self.say(
            "workspace",
            ready,
            f"{self.facts.name}, {self.facts.state.lower()}",
            "" if ready else "Wait, or take another.",
        )
        self.say("region", True, self.facts.region)
        if self.facts.kind.casefold() not in ("", "default"):
            fix = "Jobs run in a workspace of the kind Default; if Azure refuses this one: %mb_workspace list."
            self.say("kind", None, f"{self.facts.name} is of the kind {self.facts.kind}", fix)
        self._network(self.facts)
        if self.facts.datastore_auth.casefold() == "identity":
            said = "the storage keeps no keys: needs Storage Blob Data Contributor"
            self.say("identity", None, said, "Whoever may assign roles gives it to you, on the storage account.")
        self._compute(self.answer("compute", found), self.answer("size", sizes))

    def _network(self, facts: WorkspaceFacts) -> None:
        if facts.has_closed_nodes:
            fix = "Packages are sent along; weights are not: take efficientnet_lite0, or name a file: weights: FILE."
            self.say("network", None, "the nodes reach only addresses that are approved, so perhaps not PyPI", fix)
        if facts.public_access.casefold() == "disabled":
            fix = "Run this notebook inside its network; from outside Azure refuses the job."
            self.say("network", None, "the workspace takes no requests from the internet", fix)

    def _role(self, granted: Any) -> None:
        from mb_jupyter.azureml.resources import PROVIDER, may

        if granted is None:
            return
        missing = [
            what
            for what, actions in SUBMIT.items()
            if not any(may(granted, f"{PROVIDER}/workspaces/{action}") for action in actions)
        ]
        if missing:  # a role may grant it in a way that is not known here: the service itself decides
            self.say("role", None, f"the account's roles do not name {' and '.join(missing)}; Azure may refuse the job",
                     "If it does: ask for the role AzureML Data Scientist on the workspace.")  # fmt: skip
        else:
            self.say("role", True, "may submit jobs")

    def _provider(self, states: Any) -> None:
        for name, state in (states or {}).items():
            registered = state == "Registered"
            fix = (
                ""
                if registered
                else "%mb_workspace create registers it; or the portal: Subscription, Resource providers."
            )
            self.say("provider", registered, f"{name} is {state or 'unknown'}", fix)

    def _compute(self, found: Iterable[ComputeFacts] | None, sizes: list[Size] | None) -> None:
        if found is None:
            return None
        known, name = {each.name.casefold(): each for each in found}, self.place.compute
        if not name:
            fix = _choice([each.name for each in known.values()])
            return self.say("compute", False, "no compute is chosen", fix)
        self.compute = known.get(name.casefold())
        if self.compute is None:
            return self.say("compute", False, f"there is no compute {name}", f"Make it: %mb_compute create {name}.")
        if self.compute.errored:
            fix = f"%mb_compute recreate {name}, or another name: %mb_compute create {free_name(name, known)}."
            self.say("compute", False, f"{name} is in an errored state: {told_errors(self.compute)}", fix)
        else:
            self._state(self.compute)
        if sizes is not None:
            self._size(self.compute, sizes)
        else:  # how many GPUs a node has is known without the region
            self.size = find(self.compute.size)
        return None

    def _state(self, compute: ComputeFacts) -> None:
        nodes = f"{compute.nodes} of {compute.max_nodes} nodes up"
        starting = "" if compute.nodes else "; a node starts when the run comes, which takes minutes"
        ok = True if compute.ready else None
        self.say("compute", ok, f"{compute.name}, {state_of(compute)}, {nodes}{starting}")
        if compute.node_errors:
            self.say("nodes", None, told_node_errors(compute), "Azure tries again; the run waits in the queue.")
        if self.wanted.nodes > compute.max_nodes:
            said = f"the run wants {self.wanted.nodes} nodes, the compute has at most {compute.max_nodes}"
            fix = "Take fewer `nodes`, or make a compute with more: %mb_compute create NAME --nodes N."
            self.say("nodes", False, said, fix)

    def _size(self, compute: ComputeFacts, sizes: list[Size]) -> None:
        size = find(compute.size, sizes)
        if size is None:
            listed, other = find(compute.size), nearest(compute.size, sizes)
            said = f"the region does not list {spelt(compute.size)} any more" + (
                f" ({listed.retired})" if listed and listed.retired else ""
            )
            fix = f"If no node comes: %mb_compute create NAME --size {other.name}, the nearest." if other else ""
            self.size = listed
            return self.say("size", None, said, fix)
        self.size = size
        gpus = f"{size.gpus} GPU{'' if size.gpus == 1 else 's'}" if size.gpus else "no GPU"
        fix = "" if size.gpus else "Training without a GPU is slow: %mb_compute sizes."
        self.say(
            "size", True if size.gpus else None, f"{size.name}: {size.vcpu} vCPUs, {size.memory_gib:g} GiB, {gpus}", fix
        )
        self._quota(compute, size)
        return None

    def _quota(self, compute: ComputeFacts, size: Size) -> None:
        low = compute.priority == "low-priority"
        left = size.low_priority_quota_left if low else size.quota_left
        limit = size.low_priority_quota if low else size.quota
        needed = max(self.wanted.nodes - compute.nodes, 0) * (size.vcpu or 0)
        if left is None or limit is None:
            return self.say("quota", None, f"no {compute.priority} limit is told for {size.family or size.name}")
        said = f"{left} of {limit} {compute.priority} vCPUs left, {needed} needed"
        if needed <= left:
            return self.say("quota", True, said)
        enough = limit >= self.wanted.nodes * (size.vcpu or 0)
        return self.say(
            "quota", None if enough else False, said, "The run waits until others end." if enough else f"{QUOTA}."
        )

    def _data(self) -> None:
        wanted = self.wanted
        if wanted.remote:
            return self.say("data", True, "in Azure already: nothing goes up, the node looks at the pictures")
        if wanted.data_bytes is None:
            return None
        pictures = f"{wanted.pictures:,} pictures, " if wanted.pictures is not None else ""
        self.say("data", True, f"{pictures}{wanted.data_bytes / 1e6:,.1f} MB")
        fast, slow = (wanted.data_bytes * 8 / speed for speed in (FAST, SLOW))
        said = f"{_span(fast)} at 100 Mbit/s, {_span(slow)} at 10 Mbit/s; what is there already is not sent again"
        return self.say("upload", True, said)

    def _cost(self) -> None:
        wanted, compute, size = self.wanted, self.compute, self.size
        hours = None if wanted.max_minutes is None else wanted.max_minutes / 60
        cap = (
            "the training ends by itself"
            if hours is None
            else f"the training ends after {wanted.max_minutes:g} minutes"
        )
        cap += f", the job after {_span(wanted.job_minutes * 60)} at the latest" if wanted.job_minutes else ""
        if compute is not None and size is not None:
            each = size.price_of(compute.priority == "low-priority")
            self.price = None if each is None else each * wanted.nodes
        if self.price is None:
            if compute is not None:
                self.say("price", None, "the service tells no price for it", "See https://azure.microsoft.com/pricing/")
            return self._cap_without_price(cap)
        assert size is not None
        self.estimate = None if hours is None else self.price * hours
        longest = wanted.job_minutes or wanted.max_minutes
        dearest = min(self.price * longest / 60, wanted.max_cost or float("inf")) if longest else None
        most = "" if dearest is None else f"; at most {money(dearest, size.currency)} for this run"
        self.say(
            "price", True, f"about {money(self.price, size.currency)} an hour{most}, storage and start of nodes apart"
        )
        return self._cap(cap, size.currency)

    def _cap(self, cap: str, currency: str) -> None:
        limit = self.wanted.max_cost
        assert self.price is not None
        if limit is None:
            return self.say("caps", True, cap)
        minutes = limit / self.price * 60 if self.price else float("inf")
        if self.estimate is not None and self.estimate > limit:
            said = (
                f"max_minutes may cost {money(self.estimate, currency)}; "
                f"max_cost {money(limit, currency)} ends the job after {minutes:.0f} minutes"
            )
            return self.say("caps", None, said, "Set max_cost higher if the training needs all its minutes.")
        return self.say(
            "caps", True, f"{cap}; max_cost {money(limit, currency)} is reached after {minutes:.0f} minutes"
        )

    def _cap_without_price(self, cap: str) -> None:
        wanted = self.wanted
        if wanted.max_cost is None:
            return self.say("caps", True, cap)
        if wanted.max_minutes is None:
            said = "max_cost cannot be turned into minutes without a price"
            return self.say("caps", False, said, "Limit the time instead, such as --max-minutes 60.")
        return self.say("caps", None, f"{cap}; max_cost is not kept without a price", "max_minutes limits the cost.")


def _choice(there: list[str]) -> str:
    if not there:
        return "Make one: %mb_compute create gpu."
    return f"%mb_compute use {there[0]}." if len(there) == 1 else f"%mb_compute use NAME; there are {', '.join(there)}."


def _span(seconds: float) -> str:
    return (
        f"{max(seconds, 1):.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
