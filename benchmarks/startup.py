"""Time `%load_ext mb_jupyter` and list what it imports, beside importing ipywidgets in the same run.

python benchmarks/startup.py

The bytecode is there, as an installation leaves it: a run that is not counted compiles what is missing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

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


if __name__ == "__main__":
    main()
