"""What a test does where something that it needs is missing."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

EVERYTHING = "MB_TESTS_RUN_ALL"


def missing(reason: str) -> NoReturn:
    """Skip the test; where ``MB_TESTS_RUN_ALL`` is set, fail it: there everything must run."""
    if os.environ.get(EVERYTHING):
        pytest.fail(f"{reason} ({EVERYTHING} is set: nothing may be skipped)")
    pytest.skip(reason)
