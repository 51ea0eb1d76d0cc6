"""What a person has chosen in the panel: observable, shared by every view, found again by the next kernel."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Dict, HasTraits, List, TraitError, Unicode

from mb_jupyter.training import disk
from mb_jupyter.workspace import Workspace

if TYPE_CHECKING:
    from mb_jupyter.dataset import Dataset

VERSION = 1
TOGETHER = ("data", "exclude")  # one without the other says something else


class State(HasTraits):
    """The choices. Assign whole values: ``state.settings = {**state.settings, "epochs": 5}``.

    One object for a kernel and a workspace (:meth:`of`); what changes is written to ``panel.json`` there, and
    what other notebooks have written is left as it is. Nothing secret belongs here.
    """

    step = Unicode("environment", help="the step in front")
    environment = Unicode("local", help="the backend: local or azure")
    azure = Dict(help="names: subscription, resource_group, workspace, region, compute, size, priority ...")
    data = Unicode("", help="path of the folder or CSV file, as typed")
    exclude = List(Unicode(), help="pictures to leave out, relative to the data")
    experiment = Unicode("", help="name; empty: that of the data")
    settings = Dict(help="settings of TrainConfig that were changed from their defaults")
    training = Unicode("", help="handle of the run in Train: the last that was started or opened there")
    run = Unicode("", help="handle of the run that Evaluate and Consume are about")
    tab = Unicode("", help="the view of Evaluate in front: Classes, Confusions ... Try it")
    picture = Unicode("", help="the picture last tried")
    export = Unicode("", help="folder of the last export")

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._seen: tuple[str, Dataset] | None = None
        self._file = file
        self._lock = threading.RLock()
        self._known = b""  # the file, while it says the same as this object
        self._kept = self.choices()  # as they were last read or written
        self._reading = False
        self.read()
        self.observe(lambda _: self.write(), names=list(self.choices()))

    @classmethod
    def of(cls, workspace: Workspace | None = None) -> State:
        """Return the state of a workspace, the same object for everybody in this kernel."""
        root = (workspace or Workspace.local()).root
        state = _of(root)
        state.read()
        if told := _noted.pop(root, None):
            state._take(told)
        return state

    @property
    def dataset(self) -> Dataset | None:
        """What ``data`` names, as a command has seen it in this kernel; None where none has."""
        return self._seen[1] if self._seen is not None and self._seen[0] == self.data else None

    @classmethod
    def note(cls, dataset: Dataset | None = None, **used: Any) -> None:
        """Note what a command has used: the panel shows it, now or when it is opened.

        It is written where there is a workspace already: a command alone makes none.
        """
        root = Workspace.local().root
        told = {**used, **({"dataset": dataset} if dataset is not None else {})}
        if root in _opened:
            cls.of()._take(told)
        else:
            _noted.setdefault(root, {}).update(told)

    def _take(self, told: dict[str, Any]) -> None:
        """Take over what commands have used; what was left out by choice belongs to other images.

        ``group`` comes with ``data``: how its images belong together is one of the settings.
        """
        dataset, group = told.pop("dataset", None), told.pop("group", None)
        if told.get("data", self.data) != self.data:
            told["exclude"] = []
        if "data" in told and group != self.settings.get("group"):
            others = {key: value for key, value in self.settings.items() if key != "group"}
            told["settings"] = {**others, **({"group": group} if group else {})}
        if dataset is not None:
            self._seen = (told["data"], dataset)
        self._reading = not self._file.parent.is_dir()
        try:
            self.choose(**told)
        finally:
            self._reading = False

    def choices(self) -> dict[str, Any]:
        """Return every choice, ready for JSON."""
        return {name: getattr(self, name) for name in sorted(self.trait_names())}

    def choose(self, **values: Any) -> None:
        """Set several choices; those who observe are told once each, and the file is written once."""
        with self.hold_trait_notifications():
            for name, value in values.items():
                setattr(self, name, value)

    def read(self) -> None:
        """Take in what the file says; one that is lost or damaged says nothing."""
        with self._lock:
            text, stored = self._stored()
            if text == self._known:
                return
            self._known, self._reading = text, True
            try:
                with self.hold_trait_notifications():  # nobody is told of a half: other pictures, the old exclude
                    for name, value in stored.items():
                        with suppress(TraitError):  # written by another version
                            setattr(self, name, value)
                            self._kept[name] = getattr(self, name)
            finally:
                self._reading = False

    def write(self) -> None:
        """Write what has changed; two kernels never see half a file."""
        with self._lock:
            choices = self.choices()
            changed = {name for name, value in choices.items() if value != self._kept[name]}
            if self._reading or not changed:
                return
            if not changed.isdisjoint(TOGETHER):
                changed.update(TOGETHER)
            after = {**choices, **self._stored()[1], **{name: choices[name] for name in changed}}
            text = json.dumps({"version": VERSION, **after}, ensure_ascii=False, indent=1).encode()
            self._kept = choices
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                disk.swap(self._file, text)
                self._known = text if after == choices else b""
            except OSError:  # a folder without write permission: the panel works, the next kernel does not know
                return

    def _stored(self) -> tuple[bytes, dict[str, Any]]:
        """Return the file, and the choices in it."""
        try:
            text = self._file.read_bytes()
            stored = json.loads(text)
            return text, {name: stored[name] for name in self.trait_names() if name in stored}
        except (OSError, ValueError, TypeError):
            return self._known, {}


_noted: dict[Path, dict[str, Any]] = {}  # by the root of a workspace: what commands used before there was a panel
_opened: set[Path] = set()


@cache
def _of(root: Path) -> State:
    _opened.add(root)
    return State(root / "panel.json")
