"""What every command is made of: its options, its words, and how it shows what it does."""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, needs_local_scope, no_var_expand
from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments

from mb_jupyter.backends import RunState
from mb_jupyter.display import Durable, Shown, escape, nobody_watches, somebody_there
from mb_jupyter.errors import ConfigError
from mb_jupyter.training.paths import at_home

from .words import meant_variable, split

if TYPE_CHECKING:
    from mb_jupyter.live import Live
    from mb_jupyter.model import Model
    from mb_jupyter.run import Run
    from mb_jupyter.standing import Use

Names: TypeAlias = Mapping[str, Any]
RUN = argument("run", nargs="?", help="handle or id of a run, or name of an experiment; default: the latest")
NO_WAIT = argument("--no-wait", action="store_true", help="return at once and show the run with live buttons")


class Opened:
    """What a command returns when it has opened its step of the panel: what it would have returned without."""

    def __init__(self, step: str, **carried: Any) -> None:
        self.step = step
        self.__dict__.update(carried)

    def __repr__(self) -> str:
        return f"<the panel's step {self.step}; it has {', '.join(name for name in vars(self) if name != 'step')}>"

    def _ipython_display_(self) -> None:
        """Show nothing: the step stands below the cell already."""


def command(*arguments: Any, cell: bool = False, panel: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a magic of a method ``(self, args)``, or ``(self, args, body)`` for one that may have a cell.

    ``panel`` names the step that opens when somebody is there and nothing is asked for.
    """

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        def magic(self: Commands, line: str, body: str | None = None, local_ns: Names | None = None) -> Any:
            with self.seeing(local_ns if body is None else _around_cell()):
                return run(self, line, body)

        def run(self: Commands, line: str, body: str | None) -> Any:
            try:
                words = self.words(line)
                if {"-h", "--help"} & set(words):
                    return print(parser().format_help())  # noqa: T201 - asked for
                if panel and not words and not (body or "").strip() and somebody_there():
                    from mb_jupyter.panels.frame import show

                    return show(panel)
                args = parser().parse_args(words)
                found = method(self, args, body) if cell else method(self, args)
            except (ConfigError, UsageError) as error:
                raise _usage(error) from None
            # IPython's own way reads the line, or the cell, as Python, which a path or YAML need not be
            return None if line.rstrip().endswith(";") else found

        @functools.cache
        def parser() -> Any:
            # not at %load_ext: the texts of a dozen parsers take longer than everything else there
            described = magic
            for each in reversed(arguments):
                described = each(described)
            return magic_arguments()(described).parser if arguments else MagicArgumentParser(magic.__name__)

        magic.__name__ = method.__name__
        magic.__doc__ = f"{method.__doc__}\n\n        Its options: %{method.__name__} --help"
        magic.options = parser  # type: ignore[attr-defined]
        named = needs_local_scope(no_var_expand(magic))
        return line_cell_magic(named) if cell else line_magic(named)

    return decorate


def _around_cell() -> Names | None:
    """Return the variables where ``run_cell_magic`` was called; IPython itself hands a cell the notebook's."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "run_cell_magic":
        frame = frame.f_back
    return frame.f_back.f_locals if frame is not None and frame.f_back is not None else None


def _usage(error: ConfigError | UsageError) -> Exception:
    """Return a mistake in a line or a body as it is to be raised.

    IPython prints a UsageError beside the outputs and leaves nothing of it in them; so where a program runs the cells,
    an error with every line of it is raised, which papermill logs.
    """
    found = error if isinstance(error, ConfigError) else ConfigError(str(error))
    if isinstance(error, ConfigError):
        error.remember()
    if nobody_watches():
        found.whole = True
        return found
    return UsageError(f"{found.cause}\n{found.fix}".rstrip())


class Commands(Magics):
    """What the commands of every room need of the notebook."""

    @property
    def last(self) -> Run | None:
        """The run that this kernel was last about."""
        assert self.shell is not None
        run: Run | None = self.shell.meta.get("mb_last_run")
        return run

    @last.setter
    def last(self, run: Run) -> None:
        assert self.shell is not None
        self.shell.meta["mb_last_run"] = run
        data = str(run.config.get("data") or "")
        there = bool(data) and os.path.exists(at_home(data))  # noqa: PTH110 - pathlib's raises
        about = {"data": data, "group": run.config.get("group")} if there else {}
        self.note(training=run.handle, run=run.handle, **about)

    def note(self, **used: Any) -> None:
        """Let the panel know which data or run a command has used."""
        from mb_jupyter.panels.state import State

        State.note(**used)

    _local: Names | None = None

    @contextmanager
    def seeing(self, local: Names | None) -> Iterator[None]:
        """See these variables before those of the notebook: a magic may stand in a function."""
        before, self._local = self._local, local
        try:
            yield
        finally:
            self._local = before

    @property
    def notebook(self) -> dict[str, Any]:
        """The variables of the notebook, to bind a result."""
        assert self.shell is not None
        return self.shell.user_ns

    @property
    def names(self) -> Names:
        """The variables that a command sees: those of the function that it stands in, then the notebook's."""
        return {**self.notebook, **(self._local or {})}

    def words(self, line: str) -> list[str]:
        """Return the words of a line: quotes group, ``~`` is home, ``{{name}}`` is that variable's text."""
        from mb_jupyter.config import VARIABLE

        try:
            words = split(line.rstrip().removesuffix(";"))
        except ValueError:
            raise UsageError("A quotation mark is not closed; put quotes around the whole path.") from None
        names = self.names
        for word in words:
            if name := meant_variable(word, names):
                raise UsageError(f"`{word}`: write {{{{{name}}}}} to insert the variable `{name}`.")
        plain = (str, int, float, os.PathLike)
        return [
            VARIABLE.sub(lambda found: str(names[found[1]]), word)
            if all(isinstance(names.get(name), plain) for name in VARIABLE.findall(word))
            else word
            for word in (str(at_home(word)) if word.startswith("~") else word for word in words)
        ]

    def one(self, words: list[str]) -> Any:
        """Return the one thing that the words name: a path whose spaces were not quoted, or a variable."""
        return self.thing(words[0]) if len(words) == 1 else " ".join(words)

    def thing(self, word: str) -> Any:
        """Return what one word names: the value of a variable, such as an image, if it is ``{{name}}``, else a path."""
        from mb_jupyter.config import VARIABLE

        alone = VARIABLE.fullmatch(word)
        if alone is None:
            return word
        if alone[1] not in self.names:
            inside = self._local is not None and self._local is not self.notebook
            where = "in this function or in the notebook" if inside else "in this notebook"
            raise UsageError(f"{word}: there is no variable `{alone[1]}` {where}.")
        return self.names[alone[1]]

    def variable(self, name: str) -> str:
        """Return the name of a variable, checked."""
        if not name.isidentifier():
            raise UsageError(f"-o {name}: is not the name of a variable.")
        return name

    def follow(self, run: Run, live: Live, no_wait: bool) -> None:
        """Show a run until it ends, or from a thread where somebody is there to press its buttons."""
        if no_wait and not somebody_there():
            live.notes.append("Nobody is there, and the kernel ends with the last cell: --no-wait waits here.")
        elif no_wait and not run.state.is_terminal:
            from mb_jupyter.panels.buttons import follow

            follow(run, live)
            return
        run.watch(live)

    def chosen(self, name: str | None, use: Use) -> Run:
        """Return the named run, else this kernel's last if its model or report may be used, else the latest such."""
        from mb_jupyter.history import chosen

        last = self.last
        run = last if name is None and last is not None and last.standing.offers(use) else chosen(name, use)
        self.note(run=run.handle)
        return run

    def model(self, args: Any) -> Model:
        """Return the model that ``--model`` or ``--run`` names, else that of the run that is chosen without."""
        from mb_jupyter.model import load

        return load(args.model) if args.model else self.chosen(args.run, "model").model

    def opened(self, step: str, **carried: Any) -> Opened:
        """Open a step of the panel below the cell, about the run that is carried, if there is one."""
        from mb_jupyter.panels.frame import show
        from mb_jupyter.panels.state import State

        if "run" in carried:
            State.of().run = carried["run"].handle
        show(step)
        return Opened(step, **carried)

    def with_progress(self, what: str, work: Callable[[Callable[..., None]], Any]) -> Any:
        """Do the work; show how far it is when it takes longer than a second, and what it says else at once."""
        durable, begun, shown_at = Durable(), time.monotonic(), 0.0

        def say(done: int | None = None, total: int | None = None, told: str = what) -> None:
            nonlocal shown_at
            now = time.monotonic()
            if (done is None or now - max(begun, shown_at) >= 1.0) and somebody_there():
                shown_at = now
                far = " ..." if done is None else f": {done:,}" + (f" of {total:,}" if total else "")
                durable.show(Shown(f"{told}{far}"))

        try:
            found = work(say)
        except BaseException as error:
            notes = getattr(error, "__notes__", [])
            if shown_at or (notes and somebody_there()):
                durable.show(Shown(" ".join([f"{what}: ended after {time.monotonic() - begun:.0f} s.", *notes])))
            raise
        if shown_at:
            durable.show(Shown(f"{what}: done in {time.monotonic() - begun:.0f} s"))
        return found

    def asked(self, run: Run, ask: Callable[[], Any], what: str) -> Any:
        """Ask something of a run, and return the sentence about it."""
        if run.state.is_terminal:
            text = f"{run.handle} had already ended; it is {run.state.word}."
        else:
            ask()
            state = run.state
            told = "is cancelled" if state is RunState.CANCELED else f"{what}; it is {state.word}"
            text = f"{run.handle} {told}."
        return Shown(text, f"<div>{escape(text)}</div>")

    def display(self, shown: Any) -> None:
        """Show an object that is not the cell's result."""
        from IPython.display import display

        display(shown)
