"""The generated console program from its start to its first answer, beside importing its three packages alone.

    python benchmarks/export.py FOLDER_OF_A_RUN PICTURE

The projects are exported and installed into a fresh environment; the peer is `import numpy, PIL, onnxruntime` there.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mb_jupyter.run import Run


def median(command: list[str], repeats: int) -> float:
    """Return the median seconds of a command, after one run that fills the caches."""
    seconds = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Run(args.run.resolve()).export(Path(folder) / "out", name="measured")
        programs = Path(folder) / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", str(programs.parent)], check=True)
        projects = [str(made.root / name) for name in made.folders]
        subprocess.run([str(programs / "pip"), "install", "-q", *projects], check=True)
        answer = median([str(programs / "measured-predict"), str(args.picture)], args.repeats)
        peer = median([str(programs / "python"), "-c", "import numpy, PIL, onnxruntime"], args.repeats)
        beyond = made.files["Bytes"].sum() - sum(
            size for name, size in zip(made.files["File"], made.files["Bytes"], strict=True)
            if name.endswith(("bestModel.onnx", "MLModel.zip"))
        )  # fmt: skip
    print(f"first answer {answer:.2f} s (target 0.7), importing the three packages {peer:.2f} s")
    print(f"both projects beyond bestModel.onnx and MLModel.zip: {beyond / 1e6:.2f} MB (target 1)")


if __name__ == "__main__":
    main()
