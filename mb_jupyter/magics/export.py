"""Take a model along."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import magics_class
from IPython.core.magic_arguments import argument

from .command import RUN, Commands, command


@magics_class
class ExportMagics(Commands):
    """The command that makes projects of a model."""

    @command(
        RUN,
        argument("--to", metavar="DIR", help="the folder to write the projects into"),
        argument("--name", help="what the projects are called; default: the experiment"),
        argument(
            "--with",
            dest="extras",
            action="append",
            choices=["api"],
            default=[],
            help="api: a web service with its Dockerfile too",
        ),
        panel="consume",
    )
    def mb_export(self, args: Any) -> Any:
        """Write a run's model as two projects: a Python package and a console program.

        Without anything the panel's step Consume opens.
        """
        if not args.to:
            raise UsageError("Say where the projects go: %mb_export --to FOLDER")
        run = self.chosen(args.run, "model")
        made = run.export(args.to, name=args.name, api="api" in args.extras)
        self.note(export=str(made.root))
        return made
