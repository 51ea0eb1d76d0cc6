"""The compute in the Environment step: chosen, made with a size and a priority, mended when it is errored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mb_jupyter import cloud
from mb_jupyter.cloud.catalogue import DEFAULT, spelt
from mb_jupyter.cloud.computes import errored, state_of
from mb_jupyter.cloud.listing import money, shown
from mb_jupyter.errors import AzureError

from . import parts
from .step import background
from .tables import Column, SortedTable

if TYPE_CHECKING:
    from mb_jupyter.cloud import Size

    from .environment import Environment

NEW = ""
FIGURES = (
    ("vCPU", "56px"), ("Memory GiB", "96px"), ("Storage GiB", "96px"), ("GPUs", "60px"), ("GPU memory GiB", "140px"),
    ("Data disks", "88px"), ("NICs", "60px"), ("Price", "80px"), ("Price, low", "90px"), ("Quota left", "90px"),
    ("Quota left, low", "120px"),
)  # fmt: skip


class Computing:
    """Which compute trains; its size is picked from a table of all of them."""

    def __init__(self, step: Environment) -> None:
        self._step = step
        self._known: dict[str, Any] = {}
        self._offered: list[Size] | None = None
        self.compute = parts.choice("Compute", [("make a new one", NEW)], NEW)
        self.name = parts.text("Compute name", placeholder="2 to 16 letters, digits, hyphens")
        meanings = [(f"{name}: {meaning}", name) for name, meaning in cloud.PRIORITIES.items()]
        self.priority = parts.options("Priority", meanings, step.kept("priority") or "low-priority")
        self.size = parts.choice("Size", [(DEFAULT, DEFAULT)], DEFAULT)
        self.table = SortedTable(
            (
                Column("Size", width="210px", figures=False),
                *(Column(title, shown, width) for title, width in FIGURES),
                Column("Remarks", width="minmax(180px,1fr)", figures=False),
            ),
            caption="Sizes of a compute", by=4, least="1360px", filtered=True, page=8,
        )  # fmt: skip
        self.every = parts.tick("Sizes without a GPU too")
        self.nodes = parts.whole("Nodes at the most", 1, 1, 100, hint="It has none while nothing trains")
        self.idle = parts.figure("Idle minutes", 5, 1, 600, step=1, hint="Until a node without work is given back")
        self.findings = parts.html()
        self.button = parts.button("Create compute", "Make the compute in Azure; it takes a minute", style="primary")
        self.new = parts.column(
            parts.Findings(self.name, lambda name: cloud.check_compute_name(name) if name else []).widget,
            self.priority, self.size, self.every, self.table.widget, self.nodes, self.idle, self.findings,
            parts.row(self.button),
        )  # fmt: skip
        self.made = parts.html()
        self.widget = parts.column(self.compute, self.made, self.new)
        self.table.on_change = self._offer
        self._fill_sizes(list(cloud.CATALOGUE))
        for field in (self.name, self.size, self.priority, self.nodes, self.idle):
            step.observe(field, lambda _: self.renew())
        step.observe(self.compute, self._picked)
        step.observe(self.every, lambda _: self.load())
        step.on(self.button, self.create)
        self.renew()

    @property
    def wanted(self) -> cloud.Compute:
        """The compute that the fields describe."""
        return cloud.Compute(
            self.name.value.strip(), self.size.value or DEFAULT, self.priority.value, max_nodes=self.nodes.value,
            idle_minutes=self.idle.value, connection=self._step.connection,
        )  # fmt: skip

    def renew(self) -> None:
        """Say what is wrong, and let the button be pressed only when nothing is."""
        if self._step.filling:
            return
        named, found = cloud.check_compute_name(self.name.value.strip()), self.wanted.findings(self._offered)
        # what the name lacks stands under its field; what the priority means, beside it
        shown = [each for each in found if each not in named and each.severity != "info"]
        needed = ["a workspace"] if self._step.connection is None else []
        needed += [] if self.name.value else ["a name"]
        if needed:
            shown.append(cloud.Finding("info", f"Still needed: {' and '.join(needed)}."))
        self.findings.value = parts.said(shown)
        wrong = bool(needed) or any(each.severity == "error" for each in found)
        self.button.disabled = self._step.making or wrong
        self._step.keep(priority=self.priority.value, size=self.size.value or "")

    # -- lists -------------------------------------------------------------------------------------------

    def load(self) -> None:
        """List the computes and the sizes of the chosen workspace; without one, those of the catalogue."""
        connection, every = self._step.connection, bool(self.every.value)
        if connection is None:
            self._known, self._offered = {}, None
            self._step.fill(self.compute, [("make a new one", NEW)], NEW)
            self._fill_sizes([size for size in cloud.CATALOGUE if every or size.gpus])
            self._show()
            return

        def ask() -> tuple[Any, Any]:
            with ThreadPoolExecutor(2) as pool:
                sizes = pool.submit(cloud.sizes, connection, every=every)
                return cloud.computes(connection), sizes.result()

        def done(found: tuple[Any, Any]) -> None:
            computes, sizes = found
            self._offered = list(sizes)
            self._fill_sizes([*sizes, *(size for size in cloud.CATALOGUE if size.retired)])
            self._list(computes)
            self._show()

        self._step.work(ask, done, says="Asking Azure for computes, sizes and quota")

    def _list(self, computes: Any) -> None:
        new = bool(self._known or self.name.value) and self.compute.value == NEW  # asked for: there was a choice
        self._known = {each.name: each for each in computes}
        options = [(f"{c.name} ({spelt(c.size) or c.kind}, {c.priority}, {state_of(c)})", c.name) for c in computes]
        chosen = self._step.kept("compute")
        chosen = chosen if chosen in self._known else NEW if new else next(iter(self._known), NEW)
        self._step.fill(self.compute, [*options, ("make a new one", NEW)], chosen)

    def _fill_sizes(self, sizes: list[Size]) -> None:
        self._sizes = {size.name: size for size in sizes}
        self.table.fill([_row(size) for size in sizes])

    def _offer(self) -> None:
        """Offer as sizes what the filter leaves."""
        names = [row[0] for row in self.table.shown]
        before = self.size.value or self._step.kept("size")
        chosen = before if before in names else DEFAULT if DEFAULT in names else next(iter(names), None)
        self._step.fill(self.size, [(_told(self._sizes[name]), name) for name in names], chosen)
        self.renew()

    # -- which one ---------------------------------------------------------------------------------------

    def _picked(self, name: str | None) -> None:
        if not self._step.filling:
            self._show()

    def _show(self) -> None:
        name = self.compute.value or ""
        parts.hide(self.new, bool(name))
        if self._step.connection is not None:
            self._step.keep(compute=name)
            cloud.choose(compute=name)
        facts = self._known.get(name)
        if facts is not None and facts.errored:
            self._mend(errored(facts, self._free(name)), name)
        else:
            self._step.problem.clear()
        self.renew()

    def _free(self, name: str) -> str:
        return cloud.free_name(name, [name, *self._known])

    def _mend(self, error: AzureError, name: str) -> None:
        """Show what Azure says of an errored compute, and the two ways out as buttons."""
        other = parts.button("Use another name", f"Make a compute called {self._free(name)} instead")
        again = parts.button("Delete and create again", f"Delete {name} and make it anew", style="danger")
        self._step.on(other, lambda: self._rename(name))
        self._step.on(again, lambda: self.recreate(name))
        self._step.problem.show(error, other, again)

    def _rename(self, name: str) -> None:
        facts = self._known.get(name)
        self.name.value = self._free(name)
        if facts is not None and spelt(facts.size) in self._sizes:
            self.size.value = spelt(facts.size)
        if facts is not None and facts.priority in cloud.PRIORITIES:
            self.priority.value = facts.priority
        self.compute.value = NEW
        self._step.problem.clear()

    # -- making ------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the compute, in a thread, and choose it."""
        wanted = self.wanted
        self._make(wanted.name, lambda: wanted.create(self._step.progress.say), f"Making the compute {wanted.name}")

    def recreate(self, name: str) -> None:
        """Delete an errored compute and make it again as it was meant to be, in a thread."""
        connection = self._step.connection
        assert connection is not None

        def again() -> Any:
            return cloud.Compute.existing(name, connection).recreate(self._step.progress.say)

        self._make(name, again, f"Deleting {name} and making it again")

    def _make(self, name: str, work: Any, says: str) -> None:
        self._step.making = True
        self.made.value = ""
        self.button.disabled = True
        connection = self._step.connection

        def done(_: Any) -> None:
            self._step.making = False
            self.made.value = parts.said([cloud.Finding("info", f"The compute {name} was created.")])
            self.name.value = ""
            self._step.keep(compute=name)
            self.load()

        def failed(error: Exception) -> None:
            self._step.making = False
            self.renew()
            # what is half made stands there from now on: it is listed, and its ways out are offered

            def listed(computes: Any) -> None:
                self._list(computes)
                facts = self._known.get(name)
                if facts is not None and facts.errored and isinstance(error, AzureError):
                    self._mend(error, name)

            if connection is not None:
                background(lambda: cloud.computes(connection), listed, lambda _: None)

        self._step.work(work, done, says=says, failed=failed)


def _row(size: Size) -> tuple[Any, ...]:
    remarks = "; ".join(each for each in (size.retired, size.note) if each)
    return (
        size.name, size.vcpu, size.memory_gib, size.storage_gib, size.gpus, size.gpu_memory_gib, size.data_disks,
        size.nics, size.price, size.low_priority_price if size.low_priority else None, size.quota_left,
        size.low_priority_quota_left, remarks,
    )  # fmt: skip


def _told(size: Size) -> str:
    """Return a size in a line: what decides."""
    said = [f"{size.gpus} GPU{'' if size.gpus == 1 else 's'}", f"{size.vcpu} vCPU"]
    said += [f"{size.memory_gib:g} GiB"] if size.memory_gib else []
    said += [f"{money(size.price, size.currency)} an hour"] if size.price else []
    said += [size.retired] if size.retired else []
    return f"{size.name}: {', '.join(said)}"
