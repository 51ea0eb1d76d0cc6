"""How long a person waits: for `%load_ext mb_jupyter`, and for the first line of a training in a fresh kernel.

python benchmarks/startup.py

Peers in the same run: importing ipywidgets and matplotlib; a cell that only displays a text.
The bytecode is there, as an installation leaves it: a run that is not counted compiles what is missing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jupyter_client.manager import start_new_kernel
from PIL import Image

HEAVY = ("torch", "azure", "onnxruntime", "matplotlib", "ipywidgets", "pandas", "numpy", "PIL")

_CHILD = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
print(json.dumps([seconds, sorted({{name.split(".")[0] for name in set(sys.modules) - before}})]))
"""

STATEMENTS = {
    "%load_ext mb_jupyter": "shell.run_line_magic('load_ext', 'mb_jupyter')",
    "import ipywidgets (peer)": "import ipywidgets",
    "import matplotlib.figure (peer)": "import matplotlib.figure",
}


def measure(statement: str, compiled: str) -> tuple[float, list[str]]:
    code = _CHILD.format(statement=statement)
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, modules


def first_output(cell: str, folder: Path) -> float:
    """Return the seconds between sending a cell to a fresh kernel that has our magics, and its first output."""
    manager, client = start_new_kernel(cwd=str(folder), stderr=subprocess.DEVNULL)
    try:
        client.execute_interactive("%load_ext mb_jupyter", timeout=60, output_hook=lambda message: None)
        start = time.perf_counter()
        client.execute(cell, allow_stdin=True)
        while client.get_iopub_msg(timeout=60)["msg_type"] not in ("display_data", "execute_result", "error"):
            pass
        return time.perf_counter() - start
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def first_lines(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        os.environ.update(XDG_CACHE_HOME=temporary, MB_WORKSPACE=f"{temporary}/mb_workspace")
        folder = Path(temporary)
        # one class: the training is refused once it has been looked at, and nothing is left to clean up
        (folder / "greys" / "dark").mkdir(parents=True)
        Image.new("L", (64, 64), 60).save(folder / "greys" / "dark" / "1.png")
        base = None
        for name, cell in (
            ("%%mb_train, its first line", "%%mb_train\ndata: greys"),
            ("display('a text') (peer)", "from IPython.display import display\ndisplay('a text')"),
        ):
            median = statistics.median(first_output(cell, folder) for _ in range(repeats)) * 1000
            base = base or median
            print(f"{name:34} {median:10.1f} {median / base:7.2f}")


def main(repeats: int = 7) -> None:
    print(f"{'statement':34} {'median ms':>10} {'ratio':>7}  heavy packages imported")
    base = None
    for name, statement in STATEMENTS.items():
        with tempfile.TemporaryDirectory() as compiled:
            runs = [measure(statement, compiled) for _ in range(1 + repeats)][1:]
        median = statistics.median(seconds for seconds, _ in runs) * 1000
        base = base or median
        heavy = sorted(set(runs[0][1]) & set(HEAVY)) or ["none"]
        print(f"{name:34} {median:10.1f} {median / base:7.1f}  {', '.join(heavy)}")
    first_lines(repeats)


if __name__ == "__main__":
    main()
