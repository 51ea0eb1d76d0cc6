"""What the report says of series, with their groups and without: one object photographed six times, slightly otherwise.

    python benchmarks/series.py [--objects 30]

Three classes of so many objects each, frozen features, seed 1. The peer is what a tool says that does not know which
images belong together: a split by image, and Wilson's interval of single images.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import mb_jupyter
from mb_jupyter.report.intervals import wilson
from tests.series import write_series

CASES: tuple[tuple[str, dict[str, Any]], ...] = (("by image", {}), ("by group", {"group": r"(tile_\d+)_\d"}))


def main() -> None:
    """Print the table and the headlines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=30)
    objects = parser.parse_args().objects
    table, headlines = [], []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_series(Path("tiles"), dict.fromkeys(("crack", "fray", "free"), objects))
        for name, extra in CASES:
            run = mb_jupyter.train(
                data="tiles", recipe="features", experiment=name.replace(" ", "-"), seed=1, image_size=96, **extra
            )
            report = run.report
            plain, own = wilson(report.right, report.pictures), report.interval
            ends = " | ".join(f"{100 * low:.1f} to {100 * high:.1f} %" for low, high in (plain, own))
            cells = f"{100 * report.accuracy:.1f} % | {report.pictures} in {report.group_count} | {ends}"
            table.append(f"| {name} | {cells} | {len(report.suspects)} |")
            headlines.append(f"{name}: {report.headline}")
        os.chdir("/")
    print("\n| split | accuracy | test images in groups | Wilson of images | the report's | label issues |")
    print("|---|---|---|---|---|---|")
    print("\n".join([*table, "", *headlines]))


if __name__ == "__main__":
    main()
