"""Judge a model and use it."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import magics_class
from IPython.core.magic_arguments import argument

from .command import RUN, Commands, command


@magics_class
class ModelMagics(Commands):
    """The commands about what a training leaves."""

    @command(RUN)
    def mb_evaluate(self, args: Any) -> Any:
        """Show how good a run's model is on the pictures that were held out."""
        return self.chosen(args.run, "predictions.csv").report

    @command(argument("runs", nargs="+", help="handles or ids of runs, or names of experiments; the first is the base"))
    def mb_compare(self, args: Any) -> Any:
        """Compare runs on the pictures that they all held out: better, worse, or equal within noise."""
        from mb_jupyter.history import compare

        return compare(args.runs)

    @command(
        argument("path", nargs="+", help="pictures, folders or globs"),
        argument("-r", "--run", help="handle or id of a run, or name of an experiment; default: the latest"),
        argument("-m", "--model", help="an MLModel.zip or the folder of a run, instead of a run"),
        argument("--to", metavar="FILE", help="write the answers to this CSV file, however many there are"),
        argument("--urls", action="store_true", help="allow addresses (http, https) as pictures"),
    )
    def mb_predict(self, args: Any) -> Any:
        """Score pictures: bars for one, a grid or a table for several."""
        from mb_jupyter.model import load

        model = load(args.model) if args.model else self.chosen(args.run, "bestModel.onnx").model
        if not args.to:
            return model.predict(*args.path, urls=args.urls)
        return self.with_progress(
            "scoring the pictures",
            lambda say: model.predict_to(args.to, *args.path, progress=say, urls=args.urls),
        )
