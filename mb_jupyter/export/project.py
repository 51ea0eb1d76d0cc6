"""From templates to a project's files: ``templates/Model/`` becomes ``FlowersModel/`` and so on.

A template is the file itself with ``{{name}}`` where something is filled in, and ``.template`` at the end of its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mb_jupyter.training import preprocess

TEMPLATES = Path(__file__).parent / "templates"
ENDING = ".template"
PROGRAM = Path(preprocess.__file__).parent
PIXELS = (
    "cells.py",
    "preprocess.py",
    "described.py",
    "formats.py",
    "guard.py",
    "inputs.py",
)  # taken along as they are
PLACE = re.compile(r"\{\{(\w+)\}\}")


def render(project: str, folder: Path, package: str, values: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    """Write a project into ``folder``: its templates filled in, and ``files`` (paths below it) as they are."""
    source = TEMPLATES / project
    for template in sorted(source.rglob(f"*{ENDING}")):
        content = PLACE.sub(lambda found: values[found[1]], template.read_text(encoding="utf-8"))
        _write(folder / _target(template.relative_to(source), package), content.encode("utf-8"))
    for name, data in files.items():
        _write(folder / name, data)


def model_files(package: str, onnx: bytes, classes: bytes, archive: bytes) -> dict[str, bytes]:
    """Return the files of the model's project that come from the run, and the one truth about images."""
    inside = f"src/{package}"
    return {
        f"{inside}/bestModel.onnx": onnx,
        f"{inside}/bestModelMap.json": classes,
        **{f"{inside}/{name}": (PROGRAM / name).read_bytes() for name in PIXELS},
        "MLModel.zip": archive,
    }


def _target(template: Path, package: str) -> Path:
    name = template.name.removesuffix(ENDING)
    folders = [package if part == "_package_" else part for part in template.parts[:-1]]
    return Path(*folders, ".gitignore" if name == "gitignore" else name)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
