"""Train, and steer what trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.magic import magics_class
from IPython.core.magic_arguments import argument
from traitlets import Float, Int, Unicode

from mb_jupyter.display import Shown, card, escape
from mb_jupyter.errors import MBError

from .command import NO_WAIT, RUN, Commands, command

if TYPE_CHECKING:
    from mb_jupyter.config import Resolved
    from mb_jupyter.plan import Plan

SETTINGS = ("data", "backend", "max_minutes", "max_cost", "epochs", "seed")  # of TrainConfig, which are flags too


@magics_class
class MBMagics(Commands):
    """Model Builder's commands. ``%config MBMagics.epochs = 5`` sets a default for every training."""

    experiment = Unicode(None, allow_none=True, help="name of the experiment of trainings without one").tag(config=True)
    backend = Unicode(None, allow_none=True, help="where to train: local or azure").tag(config=True)
    architecture = Unicode(None, allow_none=True, help="network: auto, resnet50 ...").tag(config=True)
    recipe = Unicode(None, allow_none=True, help="auto, features or finetune").tag(config=True)
    epochs = Int(None, allow_none=True, help="epochs of fine-tuning, at the most").tag(config=True)
    max_minutes = Float(None, allow_none=True, help="minutes of a whole training, at the most").tag(config=True)
    max_cost = Float(None, allow_none=True, help="cost of the nodes in Azure, at the most").tag(config=True)
    seed = Int(None, allow_none=True, help="seed of the split and of the training").tag(config=True)

    @property
    def defaults(self) -> dict[str, Any]:
        """The settings that ``%config`` gives to every training."""
        return {key: value for key, value in self.trait_values(config=True).items() if value is not None}

    @command(
        argument("name", nargs="?", help="the experiment; default: the name of the data folder"),
        argument("-o", "--out", default="mb_run", help="variable for the run; default: mb_run"),
        argument("-d", "--data", help="folder with one subfolder per class, or a CSV file"),
        argument("-b", "--backend", help="where to train: local or azure"),
        argument("-f", "--file", help="a YAML file with settings"),
        argument("--epochs", help="epochs of fine-tuning, at the most"),
        argument("--max-minutes", help="minutes of the whole training, at the most"),
        argument("--max-cost", help="cost of the nodes in Azure, at the most, in the currency of its prices"),
        argument("--seed", help="seed of the split and of the training"),
        NO_WAIT,
        argument("--dry-run", action="store_true", help="resolve everything and show it; change nothing"),
        argument("--fresh", action="store_true", help="train anew even if the identical run is there"),
        argument("-q", "--quiet", action="store_true", help="show nothing but an error"),
        argument("-y", "--yes", action="store_true", help="answer yes to every question; local training has none"),
        cell=True,
        panel="train",
    )
    def mb_train(self, args: Any, body: str | None) -> Any:
        """Train. The body is YAML, such as ``data: ./flowers``; it may be empty.

        The same cell again shows the same run; --fresh trains again. Without anything the panel's step Train opens.
        """
        from mb_jupyter.experiment import begin
        from mb_jupyter.live import Live

        resolved = self.resolve(args, body or "")
        config = resolved.config
        if args.dry_run:
            plan = self.with_progress("looking at the pictures", lambda say: self.plan(resolved, say))
            return plan if body is None else self.display(plan)
        live = Live(config.experiment, quiet=args.quiet)
        self.last = run = begin(config, live, fresh=args.fresh)
        self.notebook[args.out] = run
        self.follow(run, live, args.no_wait)
        return run if body is None and not args.quiet else None

    @command(argument("experiment", nargs="?", help="only the runs of this experiment"))
    def mb_runs(self, args: Any) -> Any:
        """List the runs, the latest first."""
        from mb_jupyter.history import runs

        return runs(args.experiment)

    @command(RUN, NO_WAIT, argument("-o", "--out", default="mb_run", help="variable for the run"))
    def mb_attach(self, args: Any) -> Any:
        """Show a run again, from its files, and go on showing it until it ends."""
        from mb_jupyter.history import attach
        from mb_jupyter.live import Live

        self.last = run = attach(args.run)
        self.notebook[self.variable(args.out)] = run
        self.follow(run, Live(run.experiment), args.no_wait)
        return run

    @command(RUN)
    def mb_stop(self, args: Any) -> Any:
        """End a run early and keep the best: it still evaluates and exports."""
        from mb_jupyter.history import going_on

        run = going_on(args.run)
        return self.asked(run, run.stop, "was asked to stop and to keep the best")

    @command(RUN)
    def mb_cancel(self, args: Any) -> Any:
        """Discard a run: end it now; no command uses what it has left."""
        from mb_jupyter.history import going_on

        run = going_on(args.run)
        return self.asked(run, run.cancel, "was asked to end at once")

    @command(RUN)
    def mb_why(self, args: Any) -> Any:
        """Tell the last error in full, with the log of its training, or how the named run stands."""
        from mb_jupyter.history import attach

        if args.run is None and MBError.latest is not None:
            text = MBError.latest.why()
        else:
            text = (attach(args.run) if args.run or self.last is None else self.last).why()
        page = f'<pre style="white-space:pre-wrap">{escape(text)}</pre>'
        return Shown(text, card("Why", page))

    def plan(self, resolved: Resolved, say: Callable[..., None]) -> Plan:
        """Return what a training would do, and say how far the look at its pictures is."""
        from mb_jupyter.experiment import Experiment

        def said(message: str, done: int | None = None, total: int | None = None) -> None:
            say(done, total, message)

        return Experiment.local(resolved.config.experiment).plan(resolved, said)

    def resolve(self, args: Any, body: str) -> Resolved:
        """Return the configuration of a training from the line, the body, the file and ``%config``."""
        from mb_jupyter.config import resolve

        self.variable(args.out)
        line = {key: getattr(args, key) for key in SETTINGS if getattr(args, key) is not None}
        if args.name is not None:
            line["experiment"] = args.name
        return resolve(line, body, args.file, self.defaults, self.names)
