"""A sheet of thumbnails in the Data step: a page at a time, each with a box that leaves the picture out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import FONT, elide, escape, image

from .gallery import thumbnail
from .parts import button, choice, column, hide, html, row
from .tables import Pager

if TYPE_CHECKING:
    from pathlib import Path

    from mb_jupyter.dataset import Dataset

PAGE = 12
SIDE = 132  # pixels
FRAME = (
    f"width:{SIDE}px;height:100px;object-fit:contain;display:block;border-radius:4px;background:rgba(128,128,128,.12)"
)
WORD = 13  # characters of a file's name beside its box


class Sheet:
    """The pictures of a data set. ``left_out()`` and ``leave_out(names)`` read and write what is ticked.

    ``work(what, done)`` runs ``what`` in a thread and hands its result to ``done``.
    """

    def __init__(
        self,
        left_out: Callable[[], list[str]],
        leave_out: Callable[[list[str]], None],
        work: Callable[[Callable[[], Any], Callable[[Any], None]], Any],
    ) -> None:
        import ipywidgets as widgets

        self._left_out, self._leave_out, self._work = left_out, leave_out, work
        self._dataset: Dataset | None = None
        self._groups: dict[str, list[str]] = {}
        self._page_names: list[str] = []
        self._asked, self._filling = 0, False
        self._which = choice("Show", [], hint="Which pictures the sheet shows")
        self._which.observe(lambda change: self._begin(), "value")
        self._cells = [self._cell(number) for number in range(PAGE)]
        grid = widgets.HBox([box for box, _, _ in self._cells], layout=widgets.Layout(flex_flow="row wrap"))
        grid.layout.grid_gap = "6px"
        self._pager = Pager(PAGE, "pictures", self._page)
        self._said = html()
        self._back = button("Take all back", "No picture is left out any more", icon="undo")
        self._back.on_click(lambda _: self._leave_out([]))
        self.widget = column(self._which, grid, self._pager.widget, row(self._said, self._back))
        hide(self.widget)

    def show(self, dataset: Dataset, suspects: Iterable[tuple[str, str]] = ()) -> None:
        """Show a data set; ``suspects`` are further pictures to look at, with the reason."""
        self._dataset = dataset
        self._groups = _groups(dataset, suspects)
        options = [(f"{name} ({len(names):,})", name) for name, names in self._groups.items()]
        self._which.options = options
        self._which.value = options[0][1]
        hide(self.widget, False)
        self._begin()
        self.renew()

    def clear(self) -> None:
        """Show no pictures any more."""
        self._asked += 1  # a page that is on its way comes too late
        self._dataset, self._groups, self._page_names = None, {}, []
        hide(self.widget)

    def renew(self) -> None:
        """Show again which pictures are left out."""
        out = self._left_out()
        self._filling = True
        for (_, _, box), name in zip(self._cells, self._page_names, strict=False):
            box.value = name in out
        self._filling = False
        some = ", ".join(out[:3]) + (" ..." if len(out) > 3 else "")
        count = "1 picture is" if len(out) == 1 else f"{len(out):,} pictures are"
        said = f"{count} left out of the training: {some}" if out else "Tick a picture to leave it out of the training."
        self._said.value = f'<div role="status" style="{FONT}">{escape(said)} The file itself is never touched.</div>'
        hide(self._back, not out)

    def _cell(self, number: int) -> tuple[Any, Any, Any]:
        import ipywidgets as widgets

        picture = html()
        tick = widgets.Checkbox(False, indent=False, layout=widgets.Layout(width=f"{SIDE}px", margin="0"))
        tick.observe(lambda change: self._ticked(number, change["new"]), "value")
        box = widgets.VBox([picture, tick], layout=widgets.Layout(width=f"{SIDE + 4}px"))
        return box, picture, tick

    def _ticked(self, number: int, out: bool) -> None:
        if self._filling or number >= len(self._page_names):
            return
        name, before = self._page_names[number], self._left_out()
        if out != (name in before):
            self._leave_out([*before, name] if out else [each for each in before if each != name])

    def _begin(self) -> None:
        self._pager.begin(len(self._groups.get(self._which.value, [])))

    def _page(self, first: int, last: int) -> None:
        if self._dataset is None:
            return
        root = self._dataset.root
        names = self._groups.get(self._which.value, [])[first:last]
        self._asked += 1
        mine = self._asked

        def done(pictures: list[str]) -> None:
            if mine == self._asked:  # else another page was asked for in the meantime
                self._fill(names, pictures)

        self._work(lambda: [_picture(root, name) for name in names], done)

    def _fill(self, names: list[str], pictures: list[str]) -> None:
        out = self._left_out()
        self._filling, self._page_names = True, names
        for number, (box, picture, tick) in enumerate(self._cells):
            hide(box, number >= len(names))
            if number < len(names):
                picture.value = pictures[number]
                tick.description = elide(names[number].rsplit("/", 1)[-1], WORD)
                tick.tooltip = f"Leave out {names[number]}"
                tick.value = names[number] in out
        self._filling = False


def _picture(root: Path, name: str) -> str:
    from mb_jupyter.training.errors import PictureError

    try:
        return image(thumbnail(root / name), f"The picture {name}", style=FRAME)
    except (OSError, PictureError):
        gone = f"{FRAME};display:flex;align-items:center;justify-content:center;text-align:center"
        return f'<div style="{gone}">It cannot be read.</div>'


def _groups(dataset: Dataset, suspects: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the pictures by what the sheet can show: suspicious ones first, all, and every class."""
    there = {picture.path for picture in dataset.pictures}
    groups: dict[str, list[str]] = {}
    for finding in dataset.findings:
        if not finding.excluded and (names := [name for name in finding.files if name in there]):
            groups.setdefault(f"suspicious: {finding.kind}", []).extend(names)
    for name, reason in suspects:
        if name in there:
            groups.setdefault(f"suspicious: {reason}", []).append(name)
    groups["all pictures"] = [picture.path for picture in dataset.pictures]
    for picture in dataset.pictures:
        groups.setdefault(f"class {elide(picture.label, 48)}", []).append(picture.path)
    return groups
