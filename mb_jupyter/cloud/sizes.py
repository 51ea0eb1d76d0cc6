"""What a region really offers: sizes with a GPU, their price and the quota left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from .allowed import if_allowed
from .catalogue import CATALOGUE, COLUMNS, Size, find
from .listing import Listing, money, shown

if TYPE_CHECKING:
    from mb_jupyter.azureml import Connection
    from mb_jupyter.azureml.arm import Arm

PRIORITIES = {
    "low-priority": "spare capacity (Azure serves it as Spot): cheaper, may be interrupted; for short trainings",
    "dedicated": "reserved: dearer, not interrupted; for long trainings",
}
"""Priority -> what it means and costs."""


def sizes(connection: Connection | None = None, *, every: bool = False) -> Listing[Size]:
    """Return the catalogue, or with a connection what its region offers; ``every`` has those without a GPU too."""
    if connection is None:
        return _listing(list(CATALOGUE), "", "The catalogue; with a connection, what the region offers and costs.")
    region = connection.place.region or connection.facts.region
    said: list[str] = []
    ask = partial(region_sizes, connection.arm, connection.place.subscription, region)
    found = if_allowed(ask, f"what {region} offers", said.append)
    if found is None:
        return _listing(list(CATALOGUE), "", f"The catalogue. {said[0]}")
    chosen = [size for size in found if every or size.gpus]
    return _listing(chosen, region, f"{len(chosen)} sizes {'' if every else 'with a GPU '}in {region}.")


def region_sizes(arm: Arm, subscription: str, region: str) -> list[Size]:
    """Return every size of a region with its quota; those with GPUs first, the cheapest first."""
    from mb_jupyter.azureml.computes import OfferedSize, offered_sizes, quota_of, quotas

    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(if_allowed, lambda: quotas(arm, subscription, region), "the quota", None)
        offered = offered_sizes(arm, subscription, region)
        known = asked.result() or []

    def size(each: OfferedSize) -> Size:
        listed = find(each.name) or Size(each.name, None, None, None, each.gpus)
        left, limit = quota_of(known, each.family, False)
        low_left, low_limit = quota_of(known, each.family, True)
        return replace(
            listed,
            name=listed.name,
            vcpu=each.vcpu,
            memory_gib=each.memory_gib,
            storage_gib=each.storage_gib,
            gpus=each.gpus,
            family=each.family,
            offered=True,
            quota_left=left,
            quota=limit,
            low_priority_quota_left=low_left,
            low_priority_quota=low_limit,
            low_priority=each.low_priority,
            price=each.price,
            low_priority_price=each.low_priority_price,
            currency=each.currency,
        )

    return sorted(map(size, offered), key=lambda s: (s.gpus == 0, s.price is None, s.price or 0, s.vcpu or 0, s.name))


def _listing(found: list[Size], region: str, said: str) -> Listing[Size]:
    currency = next((f", {size.currency}" for size in found if size.currency), "")
    prices = (f"Price an hour{currency}", f"Low priority{currency}", "Quota left")
    columns = (*COLUMNS[:-1], *prices, "Remarks") if region else COLUMNS
    return Listing(
        "Sizes of a compute",
        found,
        columns,
        [_row(size, bool(region)) for size in found],
        said=said,
        right=range(1, 11 if region else 8),
        notes=[f"{name}: {meaning}." for name, meaning in PRIORITIES.items()]
        + (["Prices are the service's estimate per node; quota in vCPUs, dedicated / low-priority."] if region else []),
    )


def _row(size: Size, with_region: bool) -> tuple[str, ...]:
    figures = (size.vcpu, size.memory_gib, size.storage_gib, size.gpus, size.gpu_memory_gib, size.data_disks, size.nics)
    begin = (size.name, *(shown(figure) for figure in figures))
    remarks = "; ".join(each for each in (size.retired, size.note) if each)
    if not with_region:
        return (*begin, remarks)
    low = money(size.low_priority_price, "") or "yes" if size.low_priority else "no"
    left = [("no limit" if q is None else f"{q:,}") for q in (size.quota_left, size.low_priority_quota_left)]
    return (*begin, money(size.price, ""), low, "\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}".join(left), remarks)
