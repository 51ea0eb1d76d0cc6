"""Judge a model and use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import magics_class
from IPython.core.magic_arguments import argument

from mb_jupyter.display import somebody_there
from mb_jupyter.errors import WorkspaceError

from .command import RUN, Commands, command


@magics_class
class ModelMagics(Commands):
    """The commands about what a training leaves."""

    @command(RUN)
    def mb_evaluate(self, args: Any) -> Any:
        """Show how good a run's model is on the pictures that were held out.

        Without a run, open the step Evaluate of the panel with the latest.
        """
        if args.run is None and somebody_there():
            return self._evaluate()
        return self.chosen(args.run, "report").report

    def _evaluate(self) -> Any:
        """Open the step, about the latest run where there is one."""
        try:
            run = self.chosen(None, "report")
        except WorkspaceError:
            return self.opened("evaluate")
        return self.opened("evaluate", run=run, report=run.report)

    @command(argument("runs", nargs="+", help="handles or ids of runs, or names of experiments; the first is the base"))
    def mb_compare(self, args: Any) -> Any:
        """Compare runs on the pictures that they all held out: better, worse, or equal within noise."""
        from mb_jupyter.history import compare

        return compare(args.runs)

    @command(
        argument("path", nargs="*", help="pictures, folders or globs; without: the panel, to pick one"),
        argument("-r", "--run", help="handle or id of a run, or name of an experiment; default: the latest"),
        argument("-m", "--model", help="an MLModel.zip or the folder of a run, instead of a run"),
        argument("--to", metavar="FILE", help="write the answers, however many, to this .csv or .parquet file"),
        argument("--urls", action="store_true", help="allow addresses (http, https) as pictures"),
    )
    def mb_predict(self, args: Any) -> Any:
        """Score pictures: bars for one, a grid or a table for several."""
        if not args.path:
            if somebody_there() and not (args.run or args.model or args.to):
                from mb_jupyter.panels.state import State

                State.of().tab = "Try it"
                return self._evaluate()
            raise UsageError("Say which pictures: %mb_predict PATH ...")
        model = self.model(args)
        images = [self.thing(word) for word in args.path]

        def work(say: Callable[..., None]) -> Any:
            if not args.to:
                return model.predict(*images, progress=say, urls=args.urls)
            told = "scoring the images"

            def notify(note: str) -> None:
                nonlocal told
                told = f"{note} Scoring the images"
                say(told=told)

            def progress(done: int, total: int | None) -> None:
                say(done, total, told)

            return model.predict_to(args.to, *images, progress=progress, notify=notify, urls=args.urls)

        return self.with_progress("scoring the images", work)
