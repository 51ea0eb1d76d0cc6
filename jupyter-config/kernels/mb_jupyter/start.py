"""Starts the kernel with the Python of the environment that this file was installed into.

Jupyter replaces "python" in a kernelspec by the Python of its server, which may be another environment's.
"""

import os
import runpy
import subprocess
import sys
from pathlib import Path

PREFIX = Path(__file__).absolute().parents[4]  # above share/jupyter/kernels/mb_jupyter
PYTHONS = ("bin/python", "bin/python3", "python.exe", "Scripts/python.exe")


def main() -> None:
    """Become the kernel; where the environment has no Python of its own (pip install --user), with this one."""
    python = next((PREFIX / name for name in PYTHONS if (PREFIX / name).is_file()), None)
    if python is None or PREFIX.resolve() == Path(sys.prefix).resolve():
        del sys.path[0]  # this folder, in which a notebook's imports are not looked for
        runpy.run_module("ipykernel_launcher", run_name="__main__")
        return
    command = [str(python), "-m", "ipykernel_launcher", *sys.argv[1:]]
    if os.name == "nt":  # there a program cannot be replaced by another
        sys.exit(subprocess.call(command, close_fds=False))
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
