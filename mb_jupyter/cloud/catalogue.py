"""The sizes a compute can have: a catalogue that needs no network, and which of them is nearest to another.

The figures are those of Microsoft's documentation of each series (learn.microsoft.com, "Sizes for virtual
machines in Azure", GPU accelerated); what it does not tell is ``None``. With a connection, see
:func:`mb_jupyter.cloud.sizes`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RETIRED_NC = "retired by Azure, 2023"
RETIRED_NC_V3 = "retired by Azure, 2025"
DEFAULT = "Standard_NC4as_T4_v3"


@dataclass(frozen=True)
class Size:
    """A size of virtual machine. ``price`` is an estimate of the service, per node and hour.

    ``offered`` is None and ``quota_left`` (in vCPUs) unknown as long as nobody asked the region.
    """

    name: str
    vcpu: int | None
    memory_gib: float | None
    storage_gib: float | None
    gpus: int
    gpu_memory_gib: int | None = None
    data_disks: int | None = None
    nics: int | None = None
    retired: str = ""
    note: str = ""
    family: str = ""
    offered: bool | None = None
    quota_left: int | None = None
    quota: int | None = None
    low_priority_quota_left: int | None = None
    low_priority_quota: int | None = None
    low_priority: bool | None = None
    price: float | None = None
    low_priority_price: float | None = None
    currency: str = ""

    def nodes_within_quota(self, low_priority: bool, *, left: bool = True) -> int | None:
        """Return how many nodes the quota is enough for, or what is ``left`` of it; None when nobody told a limit."""
        if low_priority:
            cores = self.low_priority_quota_left if left else self.low_priority_quota
        else:
            cores = self.quota_left if left else self.quota
        return None if cores is None or not self.vcpu else max(cores, 0) // self.vcpu

    def price_of(self, low_priority: bool) -> float | None:
        """Return the price per node and hour for that priority, where the service tells it."""
        return self.low_priority_price if low_priority else self.price


# name, vCPU, memory, temporary storage, GPUs, GPU memory (all of them), data disks, NICs, retired, note
CATALOGUE: tuple[Size, ...] = (
    Size("Standard_NC4as_T4_v3", 4, 28, 176, 1, 16, 8, 2, note="T4; enough for most picture classifiers"),
    Size("Standard_NC8as_T4_v3", 8, 56, 352, 1, 16, 16, 4, note="T4"),
    Size("Standard_NC16as_T4_v3", 16, 110, 352, 1, 16, 32, 8, note="T4"),
    Size("Standard_NC64as_T4_v3", 64, 440, 2816, 4, 64, 32, 8, note="four T4"),
    Size("Standard_NV6ads_A10_v5", 6, 55, 180, 1, 4, 4, 1, note="a sixth of an A10"),
    Size("Standard_NV12ads_A10_v5", 12, 110, 360, 1, 8, 4, 2, note="a third of an A10"),
    Size("Standard_NV18ads_A10_v5", 18, 220, 720, 1, 12, 8, 4, note="half an A10"),
    Size("Standard_NV36ads_A10_v5", 36, 440, 1440, 1, 24, 16, 4, note="A10"),
    Size("Standard_NV36adms_A10_v5", 36, 880, 2880, 1, 24, 32, 8, note="A10"),
    Size("Standard_NV72ads_A10_v5", 72, 880, 2880, 2, 48, 32, 8, note="two A10"),
    Size("Standard_NC24ads_A100_v4", 24, 220, 64, 1, 80, 8, 2, note="A100"),
    Size("Standard_NC48ads_A100_v4", 48, 440, 128, 2, 160, 16, 4, note="two A100"),
    Size("Standard_NC96ads_A100_v4", 96, 880, 256, 4, 320, 32, 8, note="four A100"),
    Size("Standard_NC40ads_H100_v5", 40, 320, 3576, 1, 94, 8, 2, note="H100"),
    Size("Standard_NC80adis_H100_v5", 80, 640, 7152, 2, 188, 16, 4, note="two H100"),
    Size("Standard_ND96isr_H100_v5", 96, 1900, 1024, 8, 640, 32, 8, note="eight H100"),
    Size("Standard_NC6s_v3", 6, 112, 736, 1, 16, 12, 4, RETIRED_NC_V3, "V100"),
    Size("Standard_NC12s_v3", 12, 224, 1474, 2, 32, 24, 8, RETIRED_NC_V3, "two V100"),
    Size("Standard_NC24s_v3", 24, 448, 2948, 4, 64, 32, 8, RETIRED_NC_V3, "four V100"),
    Size("Standard_NC12", 12, 112, 680, 2, 24, 48, 2, RETIRED_NC, "two K80"),
    Size("Standard_NC24", 24, 224, 1440, 4, 48, 64, 4, RETIRED_NC, "four K80"),
)

COLUMNS = (
    "Size", "vCPU", "Memory GiB", "Temporary storage GiB", "GPUs", "GPU memory GiB", "Data disks", "NICs", "Remarks",
)  # fmt: skip


def find(name: str, known: Iterable[Size] = CATALOGUE) -> Size | None:
    """Return the size called ``name``, whatever its letters' case; Azure itself writes them both ways."""
    return next((size for size in known if size.name.casefold() == name.casefold()), None)


def spelt(size: str) -> str:
    """Return the name of a size as the catalogue spells it; Azure answers in capitals."""
    listed = find(size)
    return listed.name if listed else size


def nearest(name: str, offered: Sequence[Size]) -> Size | None:
    """Return the offered size that comes nearest to the one asked for; None when nothing is offered.

    A misspelt name means the one it looks like. Else the same number of GPUs, then GPU memory that is not
    less, then vCPUs near by; for a name that nobody knows, the smallest with a GPU.
    """
    possible = [size for size in offered if size.gpus > 0 and not size.retired] or [
        size for size in offered if not size.retired
    ]
    if not possible:
        return None
    wanted = find(name)
    if wanted is None:
        by_fold = {size.name.casefold(): size for size in possible}
        alike = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.8)
        if alike:
            return by_fold[alike[0]]
        return min(possible, key=lambda size: (size.gpus == 0, size.gpus, size.vcpu or 0, size.name))

    def distance(size: Size) -> tuple[float, ...]:
        less_memory = max((wanted.gpu_memory_gib or 0) - (_gpu_memory(size) or 0), 0)
        more_memory = max((_gpu_memory(size) or 0) - (wanted.gpu_memory_gib or 0), 0)
        return (abs(size.gpus - wanted.gpus), less_memory, abs((size.vcpu or 0) - (wanted.vcpu or 0)), more_memory)

    return min(possible, key=lambda size: (*distance(size), size.name))


def _gpu_memory(size: Size) -> int | None:
    if size.gpu_memory_gib is not None:
        return size.gpu_memory_gib
    listed = find(size.name)
    return listed.gpu_memory_gib if listed else None
