"""The generated console program from its start to its first answer, beside importing its three packages alone.

    python benchmarks/export.py FOLDER_OF_A_RUN PICTURE

The projects are exported and installed into a fresh environment; the peer is `import numpy, PIL, onnxruntime` there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mb_jupyter.run import Run


def median(command: list[str], repeats: int) -> tuple[float, float]:
    """Return the median seconds of a command by the clock and on a processor, after one run that fills the caches."""
    clock, processor = [], []
    for _ in range(repeats + 1):
        begun, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, capture_output=True)
        clock.append(time.perf_counter() - begun)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        processor.append(used)
    return statistics.median(clock[1:]), statistics.median(processor[1:])


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
    print(f"load {os.getloadavg()[0]:.1f}; seconds by the clock, and of them on a processor:")
    print(f"first answer {answer[0]:.2f}, {answer[1]:.2f} (target 0.7)")
    print(f"importing the three packages {peer[0]:.2f}, {peer[1]:.2f}")
    print(f"both projects beyond bestModel.onnx and MLModel.zip: {beyond / 1e6:.2f} MB (target 1)")


if __name__ == "__main__":
    main()
