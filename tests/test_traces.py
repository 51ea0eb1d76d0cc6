"""What the product leaves behind in the user's process: nothing that was theirs is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.finished_run import write_run

ROOT = Path(__file__).parent.parent

PROGRAM = """
import gc, io, locale, logging, os, random, signal, sys, warnings
import matplotlib, numpy as np, pandas as pd
import PIL.Image, PIL.ImageFile
import scipy.stats, sklearn.metrics  # which set filters of warnings when they are imported
import mb_jupyter
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()


def now():
    return {
        "plots": dict.copy(matplotlib.rcParams),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "random": (random.getstate(), str(np.random.get_state())),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "pillow": (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES, PIL.ImageFile.MAXBLOCK),
        "numpy": (np.geterr(), str(np.get_printoptions())),
        "pandas": (pd.get_option("display.max_rows"), pd.get_option("mode.chained_assignment")),
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)],
        "locale": locale.setlocale(locale.LC_ALL),
        "hooks": (sys.excepthook, sys.stdout, sys.stderr, sys.getrecursionlimit(), gc.isenabled()),
        "names": sorted(shell.user_ns),
    }


run = mb_jupyter.attach()
before = now()
shell.run_line_magic("load_ext", "mb_jupyter")
for shown in (
    mb_jupyter.Dataset("colours"), run, run.report, run.predict("colours/red/00.png"), run.predict("colours"),
    run.model.explain("colours/red/00.png"), mb_jupyter.runs(), run.model.predict_to("out.csv", "colours"),
    run.export("out"),
):
    assert shown._repr_mimebundle_(include={"image/png", "text/html", "text/plain"})
after = now()
print(*[name for name in before if before[name] != after[name]])
print(*sorted({"torch", "torchvision"} & set(sys.modules)))
"""


def test_a_report_and_predictions_leave_the_process_as_it_was(tmp_path):
    write_run(tmp_path, each=3)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MB_WORKSPACE": "", "IPYTHONDIR": str(tmp_path / "i")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["", ""]
