"""Magics inside functions: ``{{name}}`` is a local variable first, then one of the notebook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

from tests.finished_run import write_run
from tests.magic_shell import open_shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Return a shell in a folder with a finished run and the image ``a b.png``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "mb_workspace"))
    write_run(tmp_path)
    Image.fromarray(np.full((40, 50, 3), (200, 20, 20), np.uint8)).save(tmp_path / "a b.png")
    with open_shell(tmp_path, monkeypatch) as shell:
        yield shell


def run(shell: InteractiveShell, cell: str) -> Any:
    with capture_output():
        result = shell.run_cell(cell)
    result.raise_error()
    return shell.user_ns.get("out")


def test_a_line_in_a_function_sees_its_variables(shell: InteractiveShell) -> None:
    cell = (
        "name = 'nothing'\ndef ask(name):\n    answer = %mb_predict {{name}}\n    return answer\nout = ask('a b.png')"
    )
    assert run(shell, cell).source == "a b.png"
    assert run(shell, "name = 'a b.png'\nout = %mb_predict {{name}}").source == "a b.png"


def test_what_is_no_text_is_handed_over_as_it_is(shell: InteractiveShell) -> None:
    cell = (
        "import numpy as np\ndef ask(pixels, name):\n    found = %mb_predict {{pixels}} {{name}}\n    return found\n"
        "out = ask(np.zeros((9, 9, 3), np.uint8), 'a b.png')"
    )
    assert len(run(shell, cell)) == 2


def test_every_magic_in_a_function_sees_them(shell: InteractiveShell) -> None:
    cell = "def look(folder):\n    found = %mb_data {{folder}}\n    return found\nout = look('colours')"
    assert len(run(shell, cell)) == 24
    cell = "def why(name):\n    found = %mb_explain {{name}}\n    return found\nout = why('a b.png')"
    assert run(shell, cell).source == "a b.png"
    cell = "def plan(count):\n    found = %mb_train --data colours --epochs {{count}} --dry-run\n    return found\n"
    assert run(shell, cell + "out = plan(7)").resolved.config.epochs == 7


def test_a_cell_magic_called_in_a_function_sees_them_too(shell: InteractiveShell) -> None:
    cell = (
        "def plan(count, folder):\n"
        "    body = 'data: {{folder}}\\nepochs: {{count}}'\n"
        "    return get_ipython().run_cell_magic('mb_train', '--dry-run', body)\n"
        "plan(7, 'colours')"
    )
    run(shell, cell)
    with pytest.raises(UsageError, match="there is no variable `other`"):
        run(shell, cell.replace("{{count}}", "{{other}}"))


def test_a_result_is_bound_in_the_notebook(shell: InteractiveShell) -> None:
    run(shell, "def again(run):\n    %mb_attach {{run}} -o mine\nagain('hues')")
    assert shell.user_ns["mine"].experiment == "hues"


def test_a_variable_that_nobody_has_is_named(shell: InteractiveShell) -> None:
    with pytest.raises(UsageError, match="no variable `nobody` in this function or in the notebook"):
        run(shell, "def ask():\n    %mb_predict {{nobody}}\nask()")
    with pytest.raises(UsageError, match="no variable `nobody` in this notebook"):
        run(shell, "%mb_predict {{nobody}}")


def test_the_variables_of_a_function_are_gone_after_it(shell: InteractiveShell) -> None:
    run(shell, "def ask(inner):\n    %mb_predict {{inner}}\nask('a b.png')")
    with pytest.raises(UsageError, match="no variable `inner`"):
        run(shell, "%mb_predict {{inner}}")
