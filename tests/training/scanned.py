"""What the tests of the data ask of a scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from mb_jupyter.training.errors import TrainingError
from mb_jupyter.training.manifest import Finding, Picture, Scan, split


def of(found: Scan, kind: str) -> Finding:
    """Return the one finding of a kind."""
    (finding,) = [finding for finding in found.findings if finding.kind == kind]
    return finding


def refusal(action: Callable[[], object]) -> str:
    """Return the sentences with which an action is refused."""
    with pytest.raises(TrainingError) as caught:
        action()
    assert caught.value.cause.endswith(".") and caught.value.fix.endswith(".")
    return f"{caught.value.cause} {caught.value.fix}"


def parted(found: Scan, seed: int = 0, validation: float = 0.15, test: float = 0.2) -> list[Picture]:
    """Return the pictures of a scan with their parts."""
    return split(found.pictures, seed=seed, validation_fraction=validation, test_fraction=test)


def sizes(pictures: list[Picture], label: str | None = None) -> dict[str, int]:
    """Return how many pictures, of one class or of all, are in each part."""
    return dict(Counter(p.split for p in pictures if label in (None, p.label)))
