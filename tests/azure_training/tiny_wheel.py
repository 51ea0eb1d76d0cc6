"""A package of one module as pip takes it: a wheel in a folder, or what pip leaves of it in an environment."""

from __future__ import annotations

import zipfile
from pathlib import Path


def files(name: str, version: str, module: str, code: str) -> dict[str, str]:
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    return {
        f"{module}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: none-such\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }


def write_wheel(folder: Path, name: str, version: str, module: str) -> Path:
    """Write a wheel whose module knows its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files(name, version, module, f"version = {version!r}\n").items():
            archive.writestr(file, text)
    return path


def put_into(environment: Path, name: str, version: str, module: str, code: str | None = None) -> None:
    """Put the package into a folder of the path, as it is in an environment."""
    for file, text in files(name, version, module, f"version = {version!r}\n" if code is None else code).items():
        (environment / file).parent.mkdir(parents=True, exist_ok=True)
        (environment / file).write_text(text, encoding="utf-8")
