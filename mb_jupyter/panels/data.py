"""The Data step: which pictures, what is in them, and which of them to leave out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mb_jupyter import naming
from mb_jupyter.display import Shown, card, escape
from mb_jupyter.errors import DataError, MBError
from mb_jupyter.training.paths import at_home, brief, unreachable

from .parts import Findings, button, completed, folded, html, row, text
from .sheet import Sheet
from .state import State
from .step import Step, background
from .uploads import keep

if TYPE_CHECKING:
    from mb_jupyter.dataset import Dataset

OFFERED = 40  # names that complete a path
LOOKED_AT = 2_000  # entries of a folder while somebody types
OWN = "my_pictures"  # where uploads go when no folder is chosen
TABLES = (".csv", ".tsv")


class Said(NamedTuple):
    """A finding about what was typed."""

    severity: str
    message: str
    says: str = ""


class Data(Step):
    """The pictures: a path or a few uploads, the report, a sheet of thumbnails with boxes to tick."""

    name = "data"
    title = "Data"
    about = "A folder with one subfolder per class, or a CSV file with the columns ImageSource and Label."

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.dataset: Dataset | None = None
        self._asked = ""  # the path of the last look

    def build(self) -> list[Any]:
        """Return the fields, the report and the sheet."""
        import ipywidgets as widgets

        self._path = completed("Folder or CSV file", self.state.data, placeholder="./flower_photos")
        self._path.add_class("mb-data-path")
        self._look = self.on(button("Look at the pictures", icon="search", style="primary"), self.look)
        found = Findings(self._path, checked, self._able)
        self.observe(self._path, self._typed)
        self._typed(self._path.value)
        self._upload = widgets.FileUpload(accept="image/*", multiple=True, description="Choose pictures")
        self._upload.layout.width = "auto"
        self._upload.tooltip = "Pictures of one class from this computer"
        self._class = text("Class", placeholder="such as tulips", hint="The folder that these pictures go into")
        for field in (self._class, self._upload):
            self.observe(field, lambda _: self.problem.clear())
        add = self.on(button("Add to the class", icon="plus"), self._add)
        self._report = html()
        self._sheet = Sheet(lambda: list(self.state.exclude), self._leave_out, self._unsaid)
        self.state.observe(self._excluded, "exclude")
        self.state.observe(lambda change: self._moved(change["new"]), "data")
        upload = folded("Upload a few pictures", self._class, row(self._upload, add))
        return [found.widget, row(self._look), upload, self._report, self._sheet.widget]

    def refresh(self) -> None:
        """Look at what was chosen in another kernel."""
        if self.state.data and self.dataset is None and not self._asked:
            self.widget  # noqa: B018 - made when it is first asked for
            if not self._look.disabled:
                self._look_at(self.state.dataset)

    def magic(self) -> str:
        """Return the cell that repeats the look."""
        group = self.state.settings.get("group")
        option = f" --group {shlex.quote(str(group))}" if group else ""
        return f"%mb_data {shlex.quote(self.state.data)}{option}" if self.state.data else ""

    def summary(self) -> Shown:
        """Return the report, or what is chosen."""
        out = list(self.state.exclude)
        left = f"Left out by choice: {', '.join(out)}." if out else ""
        dataset = self.dataset or self.state.dataset
        if dataset is None:
            said = f"Chosen: {self.state.data}. {left}".strip() if self.state.data else "No images are chosen."
            return Shown(f"Data\n{said}", card("Data", escape(said)))
        bundle = dataset._repr_mimebundle_()
        page = bundle["text/html"] + (f"<div>{escape(left)}</div>" if left else "")
        return Shown(f"{bundle['text/plain']}\n{left}".rstrip(), page)

    def look(self) -> None:
        """Look at the images, in a thread."""
        self._look_at(None)

    def _look_at(self, known: Dataset | None) -> None:
        """Show what is in the images; ``known``: as a command has just seen them."""
        from mb_jupyter.dataset import Dataset

        path = self._asked = self.state.data
        self._look.disabled = True

        def progress(done: int, total: int | None = None) -> None:
            self.progress.say(f"looking at the pictures of {path}:", done, total)

        def work() -> tuple[Dataset, str, list[tuple[str, str]]]:
            dataset = known or Dataset(path, group=self.state.settings.get("group"), progress=progress)
            return dataset, dataset._repr_mimebundle_()["text/html"], self._suspects()

        def done(result: tuple[Dataset, str, list[tuple[str, str]]]) -> None:
            dataset, page, suspects = result
            self._look.disabled = False
            if path != self.state.data:
                return
            self.dataset, self._report.value = dataset, page
            self._sheet.show(dataset, suspects)
            self.changed()

        def failed(error: Exception) -> None:
            self._look.disabled = False

        self.work(work, done, says=f"looking at the pictures of {path}", failed=failed)

    def _able(self, ok: bool) -> None:
        self._look.disabled = not (ok and self._path.value.strip())

    def _suspects(self) -> list[tuple[str, str]]:
        """Return the pictures whose label the last run doubts."""
        from mb_jupyter.history import attach

        if not self.state.run:
            return []
        try:
            table = attach(self.state.run).report.suspects
        except (MBError, AttributeError, OSError):  # it is not evaluated, or gone
            return []
        return [(str(name), "label doubted by the last run") for name in table["ImageSource"]]

    def _typed(self, value: str) -> None:
        if value != self.state.data:
            # what was ticked belongs to the other folder
            self.state.choose(data=value, exclude=[])
        background(
            lambda: list(completions(value)), lambda found: setattr(self._path, "options", found), self.show_error
        )

    def _moved(self, path: str) -> None:
        """Follow to other pictures, chosen here or in another notebook: what was seen is not of them."""
        self._path.value = path
        self.dataset, self._asked = None, ""
        self._report.value = ""
        self._sheet.clear()
        self.problem.clear()
        self.changed()
        if self.state.dataset is not None:
            self._look_at(self.state.dataset)

    def _leave_out(self, names: list[str]) -> None:
        self.state.exclude = sorted(names)

    def _excluded(self, _: Any) -> None:
        self._sheet.renew()
        self.changed()

    def _unsaid(self, work: Any, done: Any) -> None:
        background(work, done, self.show_error)

    def _add(self) -> None:
        label = self._class.value.strip()
        if not label or label in (".", "..") or "/" in label or "\\" in label:
            raise DataError(f"{label!r} cannot be a class." if label else "The class has no name.", "Name the class.")
        uploads = tuple(self._upload.value)
        folder = at_home(self.state.data or OWN)
        if not uploads:
            raise DataError(
                "No picture is chosen.",
                "Press Choose pictures first.",
                f"Where that has no effect, as in VS Code, copy the files into {folder / label} and press Look.",
            )
        if folder.suffix.casefold() in TABLES:
            raise DataError("Pictures cannot be added to a list.", "Choose a folder in the field above.")
        if naming.is_reserved(label):
            raise DataError(f"{label} is a reserved name on Windows.", f"Choose another, such as {label}-1.")
        if alike := naming.alike(label, _subfolders(folder)):
            raise DataError(f"There is a class {alike}, and {label} differs only in capitals.", f"Name it {alike}.")

        def done(written: list[Path]) -> None:
            self._upload.value = ()
            self._path.value = self._path.value or OWN
            self.look()

        self.work(lambda: keep(uploads, folder / label), done, says=f"writing {len(uploads)} pictures")


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (OSError, ValueError):
        return []


def checked(value: str) -> Iterator[Said]:
    """Yield what can be said of a path at once, while it is typed."""
    if not value.strip():
        return
    path = at_home(value)
    if reason := unreachable(path):
        yield Said("error", f"{brief(value)} cannot be read: {reason}.")
        return
    try:
        if path.suffix.casefold() in TABLES:
            if not path.is_file():
                yield Said("error", f"There is no file {value} here.")
        elif not path.exists():
            yield Said("error", f"There is no folder {value} here.")
        elif not path.is_dir():
            yield Said("error", f"{value} is neither a folder nor a CSV file.")
        else:
            with os.scandir(path) as entries:
                classes = sum(e.is_dir() and not e.name.startswith(".") for e in islice(entries, LOOKED_AT))
            if classes < 2:
                yield Said(
                    "warning", f"It has {'one subfolder' if classes else 'no subfolders'}; two classes are needed."
                )
            else:
                yield Said("info", f"{classes:,} subfolders.")
    except (OSError, ValueError) as error:
        yield Said("error", f"{value} cannot be read: {getattr(error, 'strerror', None) or error}.")


def completions(value: str) -> Iterator[str]:
    """Yield paths that begin with what was typed: folders, and lists of pictures."""
    head, _, begun = value.rpartition("/")
    folder = at_home(head + "/" if value.startswith("/") else head or ".")
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, LOOKED_AT):
                if entry.name.startswith(".") or not entry.name.casefold().startswith(begun.casefold()):
                    continue
                if entry.is_dir() or Path(entry.name).suffix.casefold() in TABLES:
                    found.append(entry.name)
    except (OSError, ValueError):
        return
    yield from (f"{head}/{name}" if "/" in value else name for name in sorted(found)[:OFFERED])
