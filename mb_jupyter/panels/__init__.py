"""Widgets over the same functions that the magics call; no logic of their own.

How a step is written
---------------------
A step is a class in a file of its own (``environment.py`` holds ``Environment``), a child of
:class:`.step.Step`, with

* ``name`` (``"environment"``) and ``title`` (``"Environment"``);
* ``build() -> list of widgets``: the body, made when the step is opened for the first time. What the base
  class puts around it: the title, the progress line, the error card, the cell that repeats the step;
* ``magic() -> str``: the text of the cell that repeats what was chosen; ``""`` while nothing can be repeated;
* ``summary() -> Shown``: text and HTML for the saved notebook, from the state alone (``build`` may not have run);
* ``refresh()``: called when the step comes to the front: read again what may have changed elsewhere.

What a person chooses goes into ``self.state`` (:class:`.state.State`, observable, kept in the workspace's
``panel.json``), never into the step: two views then agree, and so does the next kernel. A widget's callback
only asks: it sets the state, or calls ``self.work(work, done)``, which runs ``work()`` in a thread, shows
its progress (``self.progress.say``), gives its result to ``done`` and puts every error into the step's card.
Never print, never ``display`` in a callback; set widgets' traits. After a choice call ``self.changed()``:
it renews the cell that repeats the step and the summary. Callbacks are connected with ``self.on(button, f)``
and ``self.observe(widget, f)``: what they raise is shown in the step too, and a press waits for what was typed.

``.parts`` has the shared parts: labelled fields, a findings line, progress, the error card, the cell that
repeats; ``.tables`` a table that sorts and pages; ``.style`` the rules of style. ``.frame`` shows a step alone
(``show(name)``) or all five (``show()``).
"""

from __future__ import annotations

STEPS = {
    "environment": "mb_jupyter.panels.environment:Environment",
    "data": "mb_jupyter.panels.data:Data",
    "train": "mb_jupyter.panels.train:Train",
    "evaluate": "mb_jupyter.panels.evaluate:Evaluate",
    "consume": "mb_jupyter.panels.consume:Consume",
}
"""Name of a step -> its class; imported when it is opened."""
