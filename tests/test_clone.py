"""The tests themselves in a clone of the project alone, as a public service of continuous integration has it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEED_MORE = (
    "tests/test_whole.py",  # real photos
    "tests/azure_emulator/test_resources.py",  # Microsoft's schemas
    "tests/browser/test_panel_data.py",  # photos, and a page
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the project with nothing beside it."""
    for name in ("tests", "mb_jupyter"):
        shutil.copytree(ROOT / name, tmp_path / "clone" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "clone")
    return tmp_path / "clone"


@pytest.mark.parametrize("demanded", [False, True])
def test_what_needs_more_than_the_clone_is_skipped_with_its_reason_or_fails(clone: Path, demanded: bool) -> None:
    ours = ("PYTEST_", "MB_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"CI": "true", "PYTHONPATH": str(clone)} | ({"MB_TESTS_RUN_ALL": "1"} if demanded else {})
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *NEED_MORE)
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    last = done.stdout.splitlines()[-1]
    assert done.returncode == int(demanded), done.stdout
    if demanded:
        assert "MB_TESTS_RUN_ALL is set: nothing may be skipped" in done.stdout and "skipped," not in last
    else:
        assert "skipped" in last and "passed" not in last and "failed" not in last and "error" not in last
        assert "the real photo sets are not on this machine" in done.stdout
        assert re.search("Microsoft's schemas are not beside|node is not installed", done.stdout)
