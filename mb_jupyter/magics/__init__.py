"""The ``%mb_*`` commands: each parses, calls one function of the library and returns its object.

Class names, paths and variables are data here: nothing in a line is expanded but ``~`` and ``{{name}}``.
"""

from .models import ModelMagics
from .resources import ResourceMagics
from .training import MBMagics

ALL = (MBMagics, ModelMagics, ResourceMagics)
"""What ``%load_ext mb_jupyter`` registers."""

__all__ = ["ALL", "MBMagics", "ModelMagics", "ResourceMagics"]
