"""What a training needs: pictures, a place for its runs, an installation that works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from IPython.core.magic import magics_class
from IPython.core.magic_arguments import argument

from .command import Commands, command


@magics_class
class ResourceMagics(Commands):
    """The commands about what there must be before a training."""

    @command(
        argument("path", nargs="+", help="folder with one subfolder per class, or a CSV file"),
        argument(
            "-g",
            "--group",
            help="which images belong together: a regular expression, folder, burst, similar, or column: NAME",
        ),
        panel="data",
    )
    def mb_data(self, args: Any) -> Any:
        """Look at the pictures: classes, findings, duplicates, a sheet of thumbnails.

        Without a path the panel's step Data opens.
        """
        from mb_jupyter.dataset import Dataset

        path = self.one(args.path)
        found = self.with_progress("looking at the images", lambda say: Dataset(path, group=args.group, progress=say))
        if isinstance(path, str | Path):
            self.note(data=str(path), group=args.group, dataset=found)
        return found

    @command()
    def mb_doctor(self, args: Any) -> Any:
        """Check this installation and name the command that mends it."""
        from mb_jupyter.installation import doctor

        return doctor()
