"""Look again: why a picture was answered so, and whether a run can be repeated."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import magics_class
from IPython.core.magic_arguments import argument

from .command import RUN, Commands, command


@magics_class
class AgainMagics(Commands):
    """The commands that ask a model or a run a second time."""

    @command(
        argument("picture", nargs="+", help="one picture"),
        argument(
            "-c", "--class", dest="label", metavar="NAME", help="explain this class too, beside the predicted one"
        ),
        argument("-r", "--run", help="handle or id of a run, or name of an experiment; default: the latest"),
        argument("-m", "--model", help="an MLModel.zip or the folder of a run, instead of a run"),
        argument("--urls", action="store_true", help="allow an address (http, https) as picture"),
    )
    def mb_explain(self, args: Any) -> Any:
        """Show which parts of a picture spoke for its class, by covering them one after another."""
        return self.model(args).explain(self.one(args.picture), label=args.label, urls=args.urls)

    @command(RUN)
    def mb_rerun(self, args: Any) -> Any:
        """Repeat a run with its own configuration and pictures, and say what came out differently."""
        from mb_jupyter.experiment import checking
        from mb_jupyter.live import Live, how_to_stop
        from mb_jupyter.rerun import Rerun, begin_again

        before = self.chosen(args.run, "report")
        live = Live(before.experiment, hint=how_to_stop(before.backend.detaches))
        with checking(live):
            again = begin_again(before, live.say)
        self.last = again
        self.follow(again, live, False)
        return Rerun(before, again)
