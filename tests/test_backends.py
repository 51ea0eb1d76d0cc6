"""The values that every backend shares."""

from __future__ import annotations

import importlib

import pytest

from mb_jupyter.backends import BACKENDS, RunState, open_backend


def test_every_backend_in_the_table_opens_and_keeps_the_protocol():
    for name in BACKENDS:
        backend = open_backend(name)
        for function in ("submit", "status", "metrics", "log", "stop", "cancel", "fetch"):
            assert callable(getattr(backend, function)), f"{name} has no {function}"
        assert type(backend).__module__ == importlib.import_module(BACKENDS[name]).__name__


def test_an_unknown_backend_is_no_backend():
    with pytest.raises(KeyError):
        open_backend("moon")


def test_states_that_end_a_run():
    assert {state for state in RunState if not state.is_terminal} == {RunState.STARTING, RunState.RUNNING}
    assert {state for state in RunState if state.has_model} == {RunState.COMPLETED, RunState.STOPPED}
    assert f"{RunState.FAILED}" == "failed"
