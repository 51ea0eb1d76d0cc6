"""The packages that a node's environment brings, and those that are put before them.

Goes to Azure beside ``node.py``, and like it needs the standard library and Python 3.10 only.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

REQUIREMENTS, WHEELS = Path("requirements.txt"), Path("wheels")
BROUGHT = ("torch", "torchvision", "numpy")  # by the environment, whatever their versions


def equip(program: str, packages: Path, say: Callable[[str], None]) -> tuple[str, str] | None:
    """Bring the packages to the versions that were sent with the program, and see that a training can end well.

    Returns why that fails and what to do about it, None when it does not.
    """
    if not REQUIREMENTS.exists():
        return None
    lines = [line.split("#") for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if "#" in line]
    modules = {pinned.strip(): module.strip() for pinned, module in lines}
    names = (*BROUGHT, *(pinned.partition("==")[0] for pinned in modules))
    versions = ", ".join(f"{name} {_version(name) or 'missing'}" for name in names)
    say(f"the environment has Python {sys.version.split()[0]}, {versions}")
    missing = [pinned for pinned, module in modules.items() if not _is_met(pinned, module)]
    say(f"installing {', '.join(missing)}" if missing else "nothing is to be installed")
    if refusal := _install(missing, packages):
        return refusal
    problem = _try_out(program, packages)
    if problem and missing != list(modules):
        rest = [pinned for pinned in modules if pinned not in missing]
        say(f"a model cannot be exported and loaded ({problem}); installing {', '.join(rest)} too")
        if refusal := _install(rest, packages):
            return refusal
        problem = _try_out(program, packages)
    if not problem:
        return None
    cause = f"A model cannot be exported and loaded in this environment: {problem}"
    return cause, "Name another: azure: {environment: azureml:NAME:VERSION}, or none."


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _is_met(pinned: str, module: str) -> bool:
    """Tell whether the environment has the package, under its own name, in this version or a later one.

    An older one may lack what the program needs: onnxruntime 1.17 loads, and refuses every model that is written today.
    """
    name, _, wanted = pinned.partition("==")
    version = _version(name)
    return bool(version) and importlib.util.find_spec(module) is not None and _numbers(version) >= _numbers(wanted)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _install(wanted: list[str], packages: Path) -> tuple[str, str] | None:
    """Put packages into a folder of their own, which comes first on the path: the environment stays as it is."""
    if not wanted:
        return None
    command = [sys.executable, "-m", "pip", "install", "--no-input", "--quiet", "--disable-pip-version-check"]
    # without what they need in turn, which is all in the list: numpy must stay the one that torch was built with
    command += ["--no-deps", "--target", str(packages), *wanted]
    if WHEELS.is_dir():
        command += ["--no-index", "--find-links", str(WHEELS)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    sys.stdout.write(done.stdout)
    if not done.returncode:
        return None
    errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR: ")] or ["ERROR: no reason told"]
    cause = f"The node could not install {', '.join(wanted)}: {errors[-1][len('ERROR: ') :]}"
    return cause, "Can the node reach PyPI? Else name an environment that has them: azure: {environment: ...}."


def _try_out(program: str, packages: Path) -> str:
    """Return why the program's own trial fails here, empty when it does not, or the program has none."""
    if not Path(program, "trial.py").exists():
        return ""
    environment = {**os.environ, "PYTHONPATH": _path_with(packages)}
    trial = [sys.executable, "-m", f"{program}.trial"]
    done = subprocess.run(
        trial, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    if not done.returncode:
        return ""
    sys.stdout.write(done.stdout)
    lines = done.stdout.strip().splitlines()
    return lines[-1].strip() if lines else f"it ended with {done.returncode}"


def put_first(packages: Path) -> None:
    """Let the program find the packages that were installed for it before those of the environment."""
    if packages.is_dir():
        os.environ["PYTHONPATH"] = _path_with(packages)


def _path_with(packages: Path) -> str:
    return os.pathsep.join(filter(None, (str(packages), os.environ.get("PYTHONPATH"))))
