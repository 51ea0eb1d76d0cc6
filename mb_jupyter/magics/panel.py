"""The panel: the whole way by mouse and keyboard."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import magics_class
from IPython.core.magic_arguments import argument

from mb_jupyter.panels import STEPS

from .command import Commands, command


@magics_class
class PanelMagics(Commands):
    """The command that opens the panel."""

    @command(argument("step", nargs="?", choices=tuple(STEPS), help=f"only this step: {', '.join(STEPS)}"))
    def mb(self, args: Any) -> Any:
        """Open the panel: Environment, Data, Train, Evaluate, Consume.

        Where nobody is there to press its buttons, show how it stands.
        """
        from mb_jupyter.panels.frame import show

        return show(args.step)
