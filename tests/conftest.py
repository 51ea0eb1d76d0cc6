"""What several test files need."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.azure_emulator.fixtures import azure, azure_session  # noqa: F401
from tests.azure_shell import azure_shell  # noqa: F401
from tests.demand import missing

# tests use onnxruntime without the program around it, which switches its reports off; and then a test of Azure
# would find them at its proxy
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

ROOT = Path(__file__).parent.parent
#: groups of tests that run in one process each, from the longest
LONGEST = ("browser", "training/test_main.py", "test_quickstart.py", "test_export_projects.py")
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2  # of linux/capability.h


def pytest_configure(config: pytest.Config) -> None:
    # Azure's SDK uses what its own dependencies have deprecated; ours stay errors
    for module in ("azure", "marshmallow", "msrest", "msal"):
        config.addinivalue_line("filterwarnings", rf"ignore::DeprecationWarning:{module}\..*")


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that puts this machine into a time zone until the test ends."""

    def move(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real photo sets beside the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        missing("the real photo sets are not on this machine")
    return folder


def group_of(nodeid: str) -> str:
    """Return what shares servers and trained models with a test, and so runs in one process: its file, or folder."""
    file = nodeid.split("::", maxsplit=1)[0].removeprefix("tests/")
    return "browser" if file.startswith("browser/") else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # what takes longest begins first: several processes end together
    items.sort(key=lambda item: [*LONGEST, group_of(item.nodeid)].index(group_of(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process of ``pytest -n`` whole groups, in their order."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return ByGroup(config, log)


@pytest.fixture
def ordinary_user() -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which permissions hold for this process too, also when root runs the tests."""

    @contextmanager
    def without_override() -> Iterator[None]:
        if os.geteuid():
            yield
            return
        # what lets root pass by a file's permissions; given up by this thread and by those it starts
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
        assert libc.capget(header, before) == 0
        after = (ctypes.c_uint32 * 6)(*before)
        after[0] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
        assert libc.capset(header, after) == 0
        try:
            yield
        finally:
            assert libc.capset(header, before) == 0

    return without_override
