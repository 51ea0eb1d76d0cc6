"""What a person has chosen in the panel: observable, shared by every view, found again by the next kernel."""

from __future__ import annotations

import json
import secrets
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from traitlets import Dict, HasTraits, List, TraitError, Unicode

from mb_jupyter.workspace import Workspace

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
        state = _of((workspace or Workspace.local()).root)
        state.read()
        return state

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
        """Write what has changed aside and rename, so that two kernels never see half a file."""
        with self._lock:
            choices = self.choices()
            changed = {name for name, value in choices.items() if value != self._kept[name]}
            if self._reading or not changed:
                return
            if not changed.isdisjoint(TOGETHER):
                changed.update(TOGETHER)
            after = {**choices, **self._stored()[1], **{name: choices[name] for name in changed}}
            text = json.dumps({"version": VERSION, **after}, ensure_ascii=False, indent=1).encode()
            aside = self._file.with_name(f".{self._file.name}.{secrets.token_hex(4)}")
            self._kept = choices
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                aside.write_bytes(text)
                aside.replace(self._file)
                self._known = text if after == choices else b""
            except OSError:  # a folder without write permission: the panel works, the next kernel does not know
                aside.unlink(missing_ok=True)

    def _stored(self) -> tuple[bytes, dict[str, Any]]:
        """Return the file, and the choices in it."""
        try:
            text = self._file.read_bytes()
            stored = json.loads(text)
            return text, {name: stored[name] for name in self.trait_names() if name in stored}
        except (OSError, ValueError, TypeError):
            return self._known, {}


@cache
def _of(root: Path) -> State:
    return State(root / "panel.json")
