"""What an export has left: its files, how to use them, and what was kept of somebody's edits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import Shown, card, details, escape, near, table, text_table

from .names import Names

if TYPE_CHECKING:
    import pandas as pd

OURS = (".generated.json",)
SKIPPED = (".venv", ".git", "__pycache__")


@dataclass(frozen=True, repr=False)
class Export:
    """The projects below ``root``, as they lie there now.

    ``kept`` are files that somebody had edited and that were left alone; ``beside`` are the new versions of
    those of them that would have changed. Both are paths below ``root``.
    """

    root: Path
    names: Names
    folders: tuple[str, ...]
    kept: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    run: str = ""  # whose model it is, in words

    @property
    def model(self) -> Path:
        """The folder of the Python package."""
        return self.root / self.folders[0]

    @property
    def files(self) -> pd.DataFrame:
        """Every file of the projects, and its size: ``File, Bytes``."""
        import pandas as pd

        return pd.DataFrame(self._listed(), columns=["File", "Bytes"])

    @property
    def snippet(self) -> str:
        """Python that runs as it stands, here or in any environment with onnxruntime, numpy and Pillow."""
        package = self.names.package("Model")
        return (
            "import sys\n\n"
            "# not needed once the package is installed\n"
            f"sys.path.insert(0, {str(self.model / 'src')!r})\n\n"
            f"from {package} import predict\n\n"
            f"answer = predict({str(self.model / 'tests' / 'pictures' / '1.png')!r})\n"
            "print(answer)\n"
            "for label, probability in answer.Score.items():\n"
            '    print(f"{probability:7.2%}  {label}")\n'
        )

    @property
    def install(self) -> str:
        """The command that installs the package and its console program, typed in ``root``."""
        return "pip install " + " ".join(f"./{folder}" for folder in self.folders)

    def _listed(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for folder in self.folders:
            for path, folders, files in os.walk(self.root / folder):
                folders[:] = sorted(name for name in folders if name not in SKIPPED)
                listed = (Path(path) / name for name in sorted(files) if name not in OURS)
                found += [(file.relative_to(self.root).as_posix(), file.lstat().st_size) for file in listed]
        return found

    def __repr__(self) -> str:
        return f"<Export {self.root}: {', '.join(self.folders)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        title = f"Exported to {near(self.root)}: {', '.join(self.folders)}."
        said = [*([f"Model: {self.run}"] if self.run else []), *self.notes, *self._said_of_edits()]
        rows = [(name, f"{size:,}") for name, size in self._listed()]
        columns = ("File", "Bytes")
        use = f"cd {near(self.root)} && {self.install}"
        text = "\n\n".join(
            [title, *said, text_table(columns, rows, right=[1]), f"Install: {use}", f"Use it here:\n{self.snippet}"]
        )
        page = "".join(f"<div>{escape(sentence)}</div>" for sentence in said)
        page += f"<div>Use it here:</div>{_code(self.snippet)}"
        page += f"<div>Install, in a terminal:</div>{_code(use)}"
        page += details(f"{len(rows)} files", table(columns, rows, right=[1]), is_open=True)
        return Shown(text, card(title, page))._repr_mimebundle_()

    def _said_of_edits(self) -> list[str]:
        if not self.kept:
            return []
        one = len(self.kept) == 1
        said = f"{'This file was' if one else 'These files were'} edited and left as {'it is' if one else 'they are'}: "
        said += f"{', '.join(self.kept)}."
        if self.beside:
            said += f" What it would be now is beside: {', '.join(self.beside)}."
        return [said]


def _code(source: str) -> str:
    style = "margin:2px 0 8px;padding:6px 10px;overflow-x:auto;background:rgba(128,128,128,.12);border-radius:4px"
    return f'<pre style="{style};font-size:12px;line-height:1.45">{escape(source.rstrip())}</pre>'
