"""Time `%load_ext mb_jupyter` and list what it imports, beside importing ipywidgets in the same run.

python benchmarks/startup.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

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


def measure(statement: str) -> tuple[float, list[str]]:
    code = _CHILD.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, modules


def main(repeats: int = 7) -> None:
    print(f"{'statement':34} {'median ms':>10} {'ratio':>7}  heavy packages imported")
    base = None
    for name, statement in STATEMENTS.items():
        runs = [measure(statement) for _ in range(repeats)]
        median = statistics.median(seconds for seconds, _ in runs) * 1000
        base = base or median
        heavy = sorted(set(runs[0][1]) & set(HEAVY)) or ["none"]
        print(f"{name:34} {median:10.1f} {median / base:7.1f}  {', '.join(heavy)}")


if __name__ == "__main__":
    main()
