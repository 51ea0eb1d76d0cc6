"""The ``%mb_*`` commands: each parses, calls one function of the library and returns its object.

Class names, paths and variables are data here: nothing in a line is expanded but ``~`` and ``{{name}}``.
"""

from __future__ import annotations

import functools
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
    output_can_be_silenced,
)
from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments
from traitlets import Float, Int, Unicode

from .display import Durable, Shown, card, escape, somebody_there
from .errors import ConfigError, MBError

if TYPE_CHECKING:
    from .config import Resolved
    from .live import Live
    from .run import Run

RUN = argument("run", nargs="?", help="handle or id of a run, or name of an experiment; default: the latest")
NO_WAIT = argument("--no-wait", action="store_true", help="return at once and show the run with live buttons")
SETTINGS = ("data", "backend", "max_minutes", "epochs", "seed")  # of TrainConfig, which are flags too


def command(*arguments: Any, cell: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a magic of a method ``(self, args)``, or ``(self, args, body)`` for one that may have a cell."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        def magic(self: MBMagics, line: str, body: str | None = None) -> Any:
            words = self.words(line)
            if {"-h", "--help"} & set(words):
                return print(parser().format_help())  # noqa: T201 - asked for
            try:
                args = parser().parse_args(words)
                return method(self, args, body) if cell else method(self, args)
            except ConfigError as error:
                raise UsageError(f"{error.cause}\n{error.fix}") from None

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
        silent = output_can_be_silenced(no_var_expand(magic))
        return line_cell_magic(silent) if cell else line_magic(silent)

    return decorate


@magics_class
class MBMagics(Magics):
    """Model Builder's commands. ``%config MBMagics.epochs = 5`` sets a default for every training."""

    backend = Unicode(None, allow_none=True, help="where to train: local").tag(config=True)
    architecture = Unicode(None, allow_none=True, help="network: auto, resnet50 ...").tag(config=True)
    recipe = Unicode(None, allow_none=True, help="auto, features or finetune").tag(config=True)
    epochs = Int(None, allow_none=True, help="epochs of fine-tuning, at the most").tag(config=True)
    max_minutes = Float(None, allow_none=True, help="minutes of a whole training, at the most").tag(config=True)
    seed = Int(None, allow_none=True, help="seed of the split and of the training").tag(config=True)

    last: Run | None = None  # the run that this kernel was last about

    @command(argument("path", nargs="+", help="folder with one subfolder per class, or a CSV file"))
    def mb_data(self, args: Any) -> Any:
        """Look at the pictures: classes, findings, duplicates, a sheet of thumbnails."""
        from .dataset import Dataset

        return self.with_progress("looking at the pictures", lambda say: Dataset(self.one(args.path), progress=say))

    @command(
        argument("name", nargs="?", help="the experiment; default: the name of the data folder"),
        argument("-o", "--out", default="mb_run", help="variable for the run; default: mb_run"),
        argument("-d", "--data", help="folder with one subfolder per class, or a CSV file"),
        argument("-b", "--backend", help="where to train: local"),
        argument("-f", "--file", help="a YAML file with settings"),
        argument("--epochs", help="epochs of fine-tuning, at the most"),
        argument("--max-minutes", help="minutes of the whole training, at the most"),
        argument("--seed", help="seed of the split and of the training"),
        NO_WAIT,
        argument("--dry-run", action="store_true", help="resolve everything and show it; change nothing"),
        argument("--fresh", action="store_true", help="train anew even if the identical run is there"),
        argument("-q", "--quiet", action="store_true", help="show nothing but an error"),
        argument("-y", "--yes", action="store_true", help="answer yes to every question; local training has none"),
        cell=True,
    )
    def mb_train(self, args: Any, body: str | None) -> Any:
        """Train. The body is YAML, such as ``data: ./flowers``; it may be empty.

        The same cell again shows the same run; --fresh trains anew.
        """
        from .experiment import Experiment, begin
        from .live import Live

        resolved = self.resolve(args, body or "")
        config = resolved.config
        if args.dry_run:
            plan = Experiment.local(config.experiment).plan(resolved)
            return plan if body is None else self.display(plan)
        live = Live(config.experiment, quiet=args.quiet)
        self.last = run = begin(config, live, fresh=args.fresh)
        self.names[args.out] = run
        self.follow(run, live, args.no_wait)
        return run if body is None and not args.quiet else None

    @command(argument("experiment", nargs="?", help="only the runs of this experiment"))
    def mb_runs(self, args: Any) -> Any:
        """List the runs, the latest first."""
        from .history import runs

        return runs(args.experiment)

    @command(RUN, NO_WAIT, argument("-o", "--out", default="mb_run", help="variable for the run"))
    def mb_attach(self, args: Any) -> Any:
        """Show a run again, from its files, and go on showing it until it ends."""
        from .history import attach
        from .live import Live

        self.last = run = attach(args.run)
        self.names[self.variable(args.out)] = run
        self.follow(run, Live(run.experiment), args.no_wait)
        return run

    @command(RUN)
    def mb_stop(self, args: Any) -> Any:
        """End a run early and keep the best: it still evaluates and exports."""
        from .history import going_on

        return self.said(going_on(args.run).stop(), "was asked to stop and to keep the best")

    @command(RUN)
    def mb_cancel(self, args: Any) -> Any:
        """Abandon a run now; no model is kept."""
        from .history import going_on

        return self.said(going_on(args.run).cancel(), "was canceled")

    @command(RUN)
    def mb_evaluate(self, args: Any) -> Any:
        """Show how good a run's model is on the pictures that were held out."""
        return self.chosen(args.run, "predictions.csv").report

    @command(
        argument("path", nargs="+", help="pictures, folders or globs"),
        argument("-r", "--run", help="handle or id of a run, or name of an experiment; default: the latest"),
        argument("-m", "--model", help="an MLModel.zip or the folder of a run, instead of a run"),
        argument("--to", metavar="FILE", help="write the answers to this CSV file, however many there are"),
        argument("--urls", action="store_true", help="allow addresses (http, https) as pictures"),
    )
    def mb_predict(self, args: Any) -> Any:
        """Score pictures: bars for one, a grid or a table for several."""
        from .model import load

        model = load(args.model) if args.model else self.chosen(args.run, "bestModel.onnx").model
        if not args.to:
            return model.predict(*args.path, urls=args.urls)
        return self.with_progress(
            "scoring the pictures",
            lambda say: model.predict_to(args.to, *args.path, progress=say, urls=args.urls),
        )

    @command(RUN)
    def mb_why(self, args: Any) -> Any:
        """Tell the last error in full, with the log of its training, or how the named run stands."""
        from .history import attach

        if args.run is None and MBError.latest is not None:
            text = MBError.latest.why()
        else:
            text = (attach(args.run) if args.run or self.last is None else self.last).why()
        page = f'<pre style="white-space:pre-wrap">{escape(text)}</pre>'
        return Shown(text, card("Why", page))

    @command()
    def mb_doctor(self, args: Any) -> Any:
        """Check this installation and name the command that mends it."""
        from .installation import doctor

        return doctor()

    @command(
        argument("what", nargs="?", choices=("list", "show"), default="list", help="list or show"),
        argument("name", nargs="?", help="the experiment to show; default: the latest run's"),
    )
    def mb_experiment(self, args: Any) -> Any:
        """List the experiments, or show one with its runs."""
        from .experiment import Experiment
        from .history import attach
        from .workspace import Workspace

        if args.what == "list":
            return Workspace.local()
        return Experiment.local(attach(args.name).experiment)

    @command(argument("what", nargs="?", choices=("show",), default="show", help="show"))
    def mb_workspace(self, args: Any) -> Any:
        """Show where the runs are kept."""
        from .workspace import Workspace

        return Workspace.local()

    # -- what several of them need -----------------------------------------------------------------------

    @property
    def names(self) -> dict[str, Any]:
        """The variables of the notebook."""
        assert self.shell is not None
        return self.shell.user_ns

    def words(self, line: str) -> list[str]:
        """Return the words of a line: quotes group, ``~`` is home, ``{{name}}`` is that variable's text."""
        from .config import VARIABLE

        reader = shlex.shlex(line.rstrip().removesuffix(";"), posix=True, punctuation_chars=False)
        reader.whitespace_split, reader.commenters = True, ""
        if os.name == "nt":  # there, a backslash separates folders
            reader.escape = ""
        try:
            words = list(reader)
        except ValueError:
            raise UsageError("A quotation mark is not closed; put quotes around the whole path.") from None
        names = self.names
        plain = (str, int, float, os.PathLike)
        return [
            VARIABLE.sub(lambda found: str(names[found[1]]), word)
            if all(isinstance(names.get(name), plain) for name in VARIABLE.findall(word))
            else word
            for word in (str(Path(word).expanduser()) if word.startswith("~") else word for word in words)
        ]

    def one(self, words: list[str]) -> Any:
        """Return the one thing that the words name: a path whose spaces were not quoted, or a variable."""
        from .config import VARIABLE

        alone = VARIABLE.fullmatch(words[0]) if len(words) == 1 else None
        if alone and alone[1] in self.names:
            return self.names[alone[1]]
        return " ".join(words)

    def variable(self, name: str) -> str:
        """Return the name of a variable, checked."""
        if not name.isidentifier():
            raise UsageError(f"-o {name}: is not the name of a variable.")
        return name

    def resolve(self, args: Any, body: str) -> Resolved:
        """Return the configuration of a training from the line, the body, the file and ``%config``."""
        from .config import resolve

        self.variable(args.out)
        line = {key: getattr(args, key) for key in SETTINGS if getattr(args, key) is not None}
        if args.name is not None:
            line["experiment"] = args.name
        defaults = {key: value for key, value in self.trait_values(config=True).items() if value is not None}
        return resolve(line, body, args.file, defaults, self.names)

    def follow(self, run: Run, live: Live, no_wait: bool) -> None:
        """Show a run until it ends, or from a thread where somebody is there to press its buttons."""
        if no_wait and not somebody_there():
            live.notes.append("Nobody is there, and the kernel ends with the last cell: --no-wait waits here.")
        elif no_wait and not run.state.is_terminal:
            from .panels.train import follow

            follow(run, live)
            return
        run.watch(live)

    def chosen(self, name: str | None, file: str) -> Run:
        """Return the named run, else this kernel's last, else the latest that has left ``file``."""
        from .history import attach, latest_with

        if name is not None:
            return attach(name)
        if self.last is not None and (self.last.folder / file).exists():
            return self.last
        return latest_with(file)

    def with_progress(self, what: str, work: Callable[[Callable[..., None]], Any]) -> Any:
        """Do the work; show how far it is when it takes longer than a second."""
        durable, begun, shown_at = Durable(), time.monotonic(), 0.0

        def say(done: int, total: int | None = None) -> None:
            nonlocal shown_at
            now = time.monotonic()
            if now - max(begun, shown_at) >= 1.0 and somebody_there():
                shown_at = now
                durable.show(Shown(f"{what}: {done:,}" + (f" of {total:,}" if total else "")))

        try:
            return work(say)
        finally:
            if shown_at:
                durable.show(Shown(f"{what}: done in {time.monotonic() - begun:.0f} s"))

    def said(self, run: Run, what: str) -> Any:
        """Return the sentence about what was done to a run."""
        text = f"{run.handle} {what}; it is {run.state}."
        return Shown(text, f"<div>{escape(text)}</div>")

    def display(self, shown: Any) -> None:
        """Show an object that is not the cell's result."""
        from IPython.display import display

        display(shown)
