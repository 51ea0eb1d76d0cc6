"""The house rules that a machine can check: who imports whom, how long a file is, what the doors are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mb_jupyter

PACKAGE = Path(mb_jupyter.__file__).parent

#: room -> the rooms it may import; README.md draws the same table
MAY_IMPORT = {
    "__init__": {"magics"},  # inside load_ipython_extension only; the lazy names are strings
    "errors": set(),
    "naming": set(),
    "when": set(),
    "display": set(),
    "plots": {"display"},
    "magics": {
        "naming", "panels", "experiment", "run", "model", "standing", "backends", "dataset", "workspace", "config",
        "installation", "training", "display", "errors", "cloud",
    },
    "panels": {
        "naming", "experiment", "run", "model", "standing", "sources", "report", "prediction", "export", "dataset",
        "workspace", "config", "cloud", "training", "display", "plots", "errors",
    },
    "experiment": {
        "naming", "run", "records", "backends", "when", "dataset", "workspace", "config", "cloud", "training",
        "display", "errors",
    },
    "run": {
        "naming", "backends", "records", "export", "model", "report", "standing", "display", "plots", "workspace",
        "when", "errors",
    },
    "seen": set(),
    "standing": {"backends", "records", "display", "when", "errors"},
    "model": {"naming", "archive", "sources", "prediction", "seen", "standing", "training", "display", "errors"},
    "archive": {"records", "training", "errors"},
    "sources": {"training", "errors"},
    "prediction": {"plots", "seen", "display"},
    "export": {"naming", "archive", "records", "model", "report", "run", "when", "training", "display", "errors"},
    "dataset": {"training", "display", "errors"},
    "report": {"plots", "records", "standing", "training", "display", "errors"},
    "config": {"naming", "backends", "workspace", "training", "errors"},
    "installation": {"display", "errors", "training"},
    "workspace": {"naming", "azureml", "training", "display", "errors"},
    "azureml": {"training", "errors"},
    "cloud": {"naming", "azureml", "workspace", "run", "when", "training", "display", "errors"},
    "records": {"training", "errors"},
    "backends": {"training", "errors"},
    "backends.local": {"backends", "records", "training", "errors"},
    "backends.azure": {"naming", "backends", "records", "azureml", "training", "errors"},
    "training": set(),
}  # fmt: skip

#: of the program, the others may import these only
OPEN_PROGRAM_MODULES = {
    "model": {"cells", "inputs", "preprocess", "disk", "paths", "errors"},
    "sources": {"formats", "inputs", "paths", "errors"},
    "archive": {"described"},
    "export": {"cells", "preprocess", "formats", "described", "disk", "paths", "errors"},
    "dataset": {"manifest", "index", "disk", "paths", "errors", "preprocess"},
    "report": {"cells", "preprocess", "disk", "paths", "errors", "review", "pictures"},
    "panels": {"preprocess", "formats", "disk", "paths", "errors"},
    "installation": {"weights", "errors"},
    "azureml": {"identity", "index"},
    "backends": {"disk"},
    "backends.local": {"disk"},
    "backends.azure": {"formats", "disk"},
    "cloud": {"disk"},
    "workspace": {"disk", "paths"},
    "config": {"paths"},
    "records": {"disk"},
    "magics": {"paths"},
    "experiment": {"cells", "paths"},
}


def _modules() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] == "backends" and len(parts) > 1 and parts[1] in ("local", "azure"):
        return f"backends.{parts[1]}"
    return parts[0]


def _imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield what a module imports of ours, as parts below ``mb_jupyter``; ``if TYPE_CHECKING`` too."""
    here = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            target = tuple(node.module.split(".")) if node.module else ()
            if target:
                yield (*base, *target)
            else:
                yield from ((*base, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mb_jupyter":
            rest = tuple((node.module or "").split(".")[1:])
            yield from [rest] if rest else [(alias.name,) for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "mb_jupyter":
                    yield tuple(alias.name.split(".")[1:])


@pytest.mark.parametrize("path", list(_modules()), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    room = _room(path)
    assert room in MAY_IMPORT or room in NEIGHBOURS, f"{path.name}: say in MAY_IMPORT what it may import"
    room = NEIGHBOURS.get(room, room)
    for parts in _imports(path):
        if not parts or parts[0].startswith("__"):
            continue
        target = parts[0]
        if target == room.split(".")[0] or NEIGHBOURS.get(target, target) == room:
            continue
        assert NEIGHBOURS.get(target, target) in MAY_IMPORT[room], f"{room} must not import {'.'.join(parts)}"
        if target == "training" and len(parts) > 1:
            assert parts[1] in OPEN_PROGRAM_MODULES[room], f"{room} must not import training.{parts[1]}"


#: a flat file that belongs to a bigger neighbour's room
NEIGHBOURS: dict[str, str] = {
    "configtext": "config", "yaml12": "config", "placement": "experiment", "plan": "experiment",
    "datareport": "dataset", "live": "run", "liveclock": "run", "epochtable": "run", "history": "run",
    "recordshapes": "records",
    "completion": "magics", "bulk": "model", "explain": "model", "written": "model", "rerun": "experiment",
}  # fmt: skip


#: they may rename by hand: the one that knows how, and the one that goes to a node by itself
MAY_RENAME = {"training/disk.py", "backends/azure/node.py"}


@pytest.mark.parametrize("path", list(_modules()), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_put_in_place_by_one_helper(path: Path) -> None:
    """What is renamed by hand is refused on Windows while somebody reads: ``disk.swap``, ``staged``, ``rename``."""
    if path.relative_to(PACKAGE).as_posix() in MAY_RENAME:
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = ast.unparse(node.func.value)
        by_os = owner in ("os", "shutil") and node.func.attr in ("replace", "rename", "renames", "move")
        by_path = node.func.attr in ("replace", "rename") and len(node.args) == 1 and not node.keywords
        assert not by_os and (not by_path or owner == "disk"), f"line {node.lineno}: {ast.unparse(node)}"


def test_the_program_stands_alone() -> None:
    for path in (PACKAGE / "training").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{path.name} reaches out of its folder, which is copied out"
                assert (node.module or "").split(".")[0] != "mb_jupyter", path.name


@pytest.mark.parametrize("path", list(_modules()), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_holds_one_thing(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


def test_the_table_of_contents_is_true() -> None:
    for name in mb_jupyter.__all__:
        thing = getattr(mb_jupyter, name)
        assert thing.__doc__, f"{name} has no docstring"
        assert thing.__module__.startswith("mb_jupyter."), name
    assert set(mb_jupyter.__all__) == set(mb_jupyter._HOME)
    with pytest.raises(AttributeError, match="no attribute 'Modell'"):
        _ = mb_jupyter.Modell


HEAVY = (
    "torch", "torchvision", "azure", "onnx", "onnxruntime", "openvino", "matplotlib", "ipywidgets", "pandas",
    "numpy", "PIL", "sklearn", "scipy", "pydantic", "yaml",
)  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        "import mb_jupyter",
        "from IPython.core.interactiveshell import InteractiveShell as S; before = set(sys.modules)\n"
        "S.instance().run_line_magic('load_ext', 'mb_jupyter')",
    ],
    ids=["import", "load_ext"],
)
def test_loading_drags_nothing_in(code: str) -> None:
    program = (
        f"import sys; before = set(); {code}\n"
        f"print(*sorted({{m.split('.')[0] for m in set(sys.modules) - before}} & set({HEAVY!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
