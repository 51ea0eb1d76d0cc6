"""The settings of a training as fields, and as the cell that says the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mb_jupyter.errors import ConfigError

from .parts import choice, column, completed, folded, hide, html, said, text
from .state import State

if TYPE_CHECKING:
    from mb_jupyter.config import Resolved

ELSEWHERE = ("experiment", "data", "backend", "azure", "exclude", "labels")  # have fields of their own, or steps
FIRST = ("recipe", "architecture", "epochs", "max_minutes")
RECIPES = (
    ("auto: frozen features, then fine-tuning while it pays", "auto"),
    ("features: the network as it is, only its head is trained; seconds to minutes", "features"),
    ("finetune: the whole network is trained; better, and longer", "finetune"),
)
RECIPE_VALUES = tuple(value for _, value in RECIPES)
LABELS = {
    "architecture": "Network", "max_minutes": "Minutes at the most", "recipe": "Recipe", "epochs": "Epochs",
    "min_accuracy": "Least accuracy", "weights": "File of weights", "unsure_below": "Unsure below",
}  # fmt: skip
PLACES = ("subscription", "resource_group", "workspace", "compute", "tenant", "sign_in")


class Settings:
    """The fields; what is typed is kept in the state and told to ``changed``."""

    def __init__(self, state: State, changed: Callable[[], None]) -> None:
        self._state, self._changed = state, changed
        self._fields: dict[str, Any] = {}
        first = [self._field(key) for key in FIRST]
        others = [self._field(key) for key in self._keys() if key not in FIRST]
        self._experiment = text("Experiment", state.experiment, hint="The name under which the runs are kept")
        self._experiment.observe(self._named, "value")
        self._line = html()
        self.widget = column(self._experiment, *first, folded("More settings", *others), self._line)
        state.observe(self._follow, ["settings", "experiment", "data"])
        self.check()

    def check(self) -> Resolved | None:
        """Say what is wrong; return the configuration if nothing is."""
        self._renew_usual()
        if not self._state.data:
            self._line.value = said([Remark("info", "Choose the pictures in the step Data first.")])
            hide(self._line, False)
            return None
        try:
            resolved = configuration(self._state)
        except ConfigError as error:
            problems = [re.sub(r"^(line \d+|the line): ", "", line) for line in error.cause.splitlines()]
            self._line.value = said([Remark("error", problem) for problem in problems])
            hide(self._line, False)
            return None
        self._experiment.placeholder = resolved.config.experiment
        hide(self._line)
        return resolved

    def _keys(self) -> Iterator[str]:
        from mb_jupyter.config import TrainConfig

        yield from (key for key in TrainConfig.model_fields if key not in ELSEWHERE)

    def _field(self, key: str) -> Any:
        from mb_jupyter.config import TrainConfig, architectures

        about = TrainConfig.model_fields[key]
        label, hint = LABELS.get(key, key.replace("_", " ").capitalize()), about.description or ""
        value = self._state.settings.get(key)
        if key == "recipe":
            field = choice(label, RECIPES, self._recipe(), hint=hint)
        elif key == "architecture":
            field = completed(label, _written(value), options=architectures(), hint=hint)
        else:
            field = text(label, _written(value), hint=hint)
        field.observe(lambda change: self._typed(key, change["new"]), "value")
        self._fields[key] = field
        return field

    def _recipe(self) -> str:
        """Return the recipe to show: the chosen one, else the usual one."""
        wanted = self._state.settings.get("recipe"), _usual("recipe")
        return next((each for each in wanted if each in RECIPE_VALUES), "auto")

    def _renew_usual(self) -> None:
        """Show what an empty field means; ``%config`` may have changed it."""
        for key, field in self._fields.items():
            if key == "recipe":
                field.value = self._recipe()
            else:
                field.placeholder = _usual(key)

    def _typed(self, key: str, value: str) -> None:
        settings = {name: each for name, each in self._state.settings.items() if name != key}
        meant = _read(key, value)
        if meant is not None and not (key == "recipe" and meant == _usual(key)):
            settings[key] = meant
        if settings != self._state.settings:
            self._state.settings = settings

    def _named(self, change: Any) -> None:
        self._state.experiment = change["new"].strip()

    def _follow(self, change: Any) -> None:
        """Another kernel may have changed the state; a field that says the same is left as it is typed."""
        if self._experiment.value.strip() != self._state.experiment:
            self._experiment.value = self._state.experiment
        for key, field in self._fields.items():
            value = self._state.settings.get(key)
            if key == "recipe":
                field.value = self._recipe()
            elif _read(key, field.value) != value:
                field.value = _written(value)
        self.check()
        self._changed()


class Remark:
    """A finding of this form."""

    says = ""

    def __init__(self, severity: str, message: str) -> None:
        self.severity, self.message = severity, message


def configuration(state: State) -> Resolved:
    """Return what the cell of :func:`cell` would ask for; a ``ConfigError`` has every problem."""
    from mb_jupyter.config import resolve

    return resolve({"experiment": state.experiment} if state.experiment else {}, body(state), defaults=defaults())


def defaults() -> dict[str, Any]:
    """Return what ``%config MBMagics.*`` gives to every training, those of cells too."""
    from IPython import get_ipython

    shell = get_ipython()
    magics = shell.magics_manager.registry.get("MBMagics") if shell is not None else None
    return dict(magics.defaults) if magics is not None else {}


def body(state: State) -> str:
    """Return the YAML of the choices."""
    import yaml

    values: dict[str, Any] = {"data": state.data}
    if state.environment != "local" or defaults().get("backend", "local") != "local":
        values["backend"] = state.environment
    if state.environment != "local":
        places = {key: state.azure[key] for key in PLACES if state.azure.get(key)}
        values |= {"azure": places} if places else {}
    values |= state.settings
    if state.exclude:
        values["exclude"] = list(state.exclude)
    return str(yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=100))


def cell(state: State, fresh: bool = False) -> str:
    """Return the cell that trains what is chosen."""
    if not state.data:
        return ""
    words = ["%%mb_train", *([state.experiment] if state.experiment else []), *(["--fresh"] if fresh else [])]
    return f"{' '.join(words)}\n{body(state)}".rstrip()


def _written(value: Any) -> str:
    return "" if value is None else str(value)


def _usual(key: str) -> str:
    """Return what is taken for a setting that nobody has chosen."""
    from mb_jupyter.config import TrainConfig
    from mb_jupyter.experiment import UNSET

    usual = defaults().get(key, TrainConfig.model_fields[key].default)
    return f"{usual}" if usual is not None else UNSET.get(key, "none")


def _read(key: str, value: str) -> Any:
    """Return what a typed text means for a setting, as in a cell: a number, a text, or None."""
    from mb_jupyter.config import as_written

    return as_written(key, value.strip()) if value.strip() else None
