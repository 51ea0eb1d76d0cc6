"""The control row of a training whose cell has returned: Stop and keep, Cancel.

A button's callback may run in the main thread or in another, at once or late, depending on the kernel; so
it does no more than ask. What it could raise would be invisible, so it is shown in the row.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

from mb_jupyter.display import escape
from mb_jupyter.errors import MBError
from mb_jupyter.live import BY_BUTTONS, Live
from mb_jupyter.liveclock import STOPPING
from mb_jupyter.run import Run


def follow(run: Run, live: Live) -> threading.Thread:
    """Show ``run`` in ``live`` from a thread, with buttons below; return at once.

    When it ends, by success, failure or a bug of ours, static text stands where the buttons were.
    """
    from IPython.display import display

    live.hint = BY_BUTTONS
    run.show(live)
    row = _row(run)
    handle: Any = display(row, display_id=True)

    def work() -> None:
        said = f"{run.handle}: the view ended; %mb_attach {run.handle} shows the run again."
        try:
            run.watch(live)
            said = f"{run.handle} is {run.state}."
        except MBError as error:
            error.remember()
            said = f"{run.handle} is {run.state}; %mb_why says more."
        finally:
            handle.update({"text/plain": said, "text/html": f"<i>{escape(said)}</i>"}, raw=True)
            for widget in (*row.children, row):
                widget.close()

    # in a copy of the cell's context a kernel puts this thread's output into this cell
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name=run.handle)
    thread.start()
    return thread


def _row(run: Run) -> Any:
    import ipywidgets as widgets

    wide = widgets.Layout(width="auto")
    stop = widgets.Button(
        description="Stop and keep",
        tooltip="End the training early and keep the best model",
        icon="stop",
        layout=wide,
    )
    cancel = widgets.Button(
        description="Cancel",
        tooltip="Discard the run now; no command uses what it has left",
        icon="times",
        button_style="danger",
        layout=wide,
    )
    said = widgets.Label()

    def ask(what: Callable[[], Run], word: str) -> None:
        stop.disabled = cancel.disabled = True
        said.value = word

        def act() -> None:
            try:
                what()
            except Exception as error:
                # nothing else would show it
                said.value = str(error)
                if isinstance(error, MBError):
                    error.remember()
                stop.disabled = cancel.disabled = False

        threading.Thread(target=act, daemon=True).start()

    def on_stop(_: Any) -> None:
        ask(run.stop, STOPPING)
        cancel.disabled = False  # whoever does not want to wait may still abandon

    stop.on_click(on_stop)
    cancel.on_click(lambda _: ask(run.cancel, "Canceling."))
    return widgets.HBox([stop, cancel, said])
