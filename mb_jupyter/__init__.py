"""Model Builder for Jupyter: from a folder of labelled pictures to a proved image classifier.

This page is the table of contents. Every name is imported when it is first used, so that
``import mb_jupyter`` and ``%load_ext mb_jupyter`` cost milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .config import TrainConfig as TrainConfig
    from .dataset import Dataset as Dataset
    from .errors import MBError as MBError
    from .experiment import Experiment as Experiment
    from .experiment import train as train
    from .history import attach as attach
    from .history import compare as compare
    from .history import runs as runs
    from .installation import doctor as doctor
    from .model import Model as Model
    from .model import ModelInput as ModelInput
    from .model import ModelOutput as ModelOutput
    from .model import load as load
    from .report import Comparison as Comparison
    from .report import Report as Report
    from .run import Run as Run
    from .workspace import Workspace as Workspace

__version__ = "0.1.0"

_HOME = {
    "Comparison": "report",
    "Dataset": "dataset",
    "Experiment": "experiment",
    "MBError": "errors",
    "Model": "model",
    "ModelInput": "model",
    "ModelOutput": "model",
    "Report": "report",
    "Run": "run",
    "TrainConfig": "config",
    "Workspace": "workspace",
    "attach": "history",
    "compare": "history",
    "doctor": "installation",
    "load": "model",
    "runs": "history",
    "train": "experiment",
}

__all__ = [  # noqa: RUF022 - in the order of use
    "Dataset",
    "TrainConfig",
    "train",
    "Workspace",
    "Experiment",
    "Run",
    "runs",
    "attach",
    "Report",
    "compare",
    "Comparison",
    "Model",
    "ModelInput",
    "ModelOutput",
    "load",
    "doctor",
    "MBError",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the ``%mb_*`` magics (``%load_ext mb_jupyter``)."""
    from .completion import register
    from .magics import ALL

    shell.register_magics(*ALL)
    register(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the ``%mb_*`` magics away again (``%unload_ext mb_jupyter``)."""
    from .completion import unregister

    for kind in shell.magics_manager.magics.values():
        for name in [name for name in kind if name == "mb" or name.startswith("mb_")]:
            del kind[name]
    unregister(shell)
