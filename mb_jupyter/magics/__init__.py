"""The ``%mb_*`` commands: each parses, calls one function of the library and returns its object.

Class names, paths and variables are data here: nothing in a line is expanded but ``~`` and ``{{name}}``.
"""

from .again import AgainMagics
from .azure import AzureMagics
from .export import ExportMagics
from .models import ModelMagics
from .panel import PanelMagics
from .resources import ResourceMagics
from .training import MBMagics

ALL = (AgainMagics, AzureMagics, ExportMagics, MBMagics, ModelMagics, PanelMagics, ResourceMagics)
"""What ``%load_ext mb_jupyter`` registers."""

__all__ = [
    "ALL",
    "AgainMagics",
    "AzureMagics",
    "ExportMagics",
    "MBMagics",
    "ModelMagics",
    "PanelMagics",
    "ResourceMagics",
]
