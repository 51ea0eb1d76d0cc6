"""The report's commands in a real shell."""

from __future__ import annotations

from mb_jupyter.errors import DataError
from tests.magic_shell import run
from tests.test_magics import shell, trees  # noqa: F401 - fixtures


def test_a_run_is_evaluated_and_compared_with_the_one_before(shell, trees):  # noqa: F811
    run(shell, "%mb_train -d trees --epochs 1 --seed 1")
    said = run(shell, "%mb_evaluate trees")
    assert "There is no earlier run" in said
    assert (shell.user_ns["mb_run"].folder / "report.html").is_file()
    result = shell.run_cell("%mb_compare trees")
    assert isinstance(result.error_in_exec, DataError)
    run(shell, "%mb_train -d trees --epochs 1 --seed 2")
    said = run(shell, "%mb_compare trees")
    assert "equal within noise" in said or "nothing in common" in said
    assert "seed" in said
