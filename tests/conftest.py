"""What several test files need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real photo sets beside the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{folder} is missing: in CI the tests on real photos must run")
        pytest.skip("the real photo sets are not on this machine")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # playwright leaves an event loop running in the main thread, where asyncio.run() then fails:
    # the browser's tests come last
    items.sort(key=lambda item: "browser" in item.path.parts)
