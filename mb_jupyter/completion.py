"""The Tab key: flags, settings, networks, experiments and runs. Reads names and files, never the network."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

ABOUT_RUNS = ("mb_attach", "mb_stop", "mb_cancel", "mb_evaluate", "mb_why", "mb_export", "mb_compare", "mb_rerun")
ABOUT_EXPERIMENTS = ("mb_train", "mb_runs", "mb_experiment")
MOST_RUNS = 50


def register(shell: InteractiveShell) -> None:
    """Complete the ``mb_`` commands in this shell; IPython before 8.6, as in Colab, has no matchers to add to."""
    try:
        from IPython.core.completer import SimpleCompletion, context_matcher
    except ImportError:
        return

    @context_matcher(identifier="mb_jupyter")
    def complete(context: CompletionContext) -> SimpleMatcherResult:
        found = list(_candidates(shell, context))
        start = context.token
        matches = [SimpleCompletion(text=text, type="magic") for text in found if text.startswith(start)]
        return {"completions": matches, "suppress": bool(matches), "ordered": True}

    unregister(shell)
    shell.Completer.custom_matchers.append(complete)


def unregister(shell: InteractiveShell) -> None:
    """Take :func:`register` back."""
    matchers = getattr(shell.Completer, "custom_matchers", [])
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", "") != "mb_jupyter"]


def _candidates(shell: InteractiveShell, context: CompletionContext) -> Iterable[str]:
    before = context.text_until_cursor
    if context.cursor_line > 0 and re.match(r"%%mb_train\b", context.full_text):
        return _in_body(before)
    command = re.match(r"\s*(?:\w+\s*=\s*)?%{1,2}(mb_\w+)\s", before)
    return _in_line(shell, command[1], before.split(), context.token) if command else ()


def _in_body(before: str) -> Iterable[str]:
    from .config import CHOICES, TrainConfig, architectures

    if re.fullmatch(r"\w*", before):
        return [f"{key}: " for key in TrainConfig.model_fields]
    key = re.fullmatch(r"(architecture|recipe|fit|backend|experiment):\s*\S*", before)
    if key is None:
        return ()
    if key[1] == "experiment":
        return _experiments()
    return CHOICES.get(key[1]) or architectures()


def _in_line(shell: InteractiveShell, command: str, words: list[str], token: str) -> Iterable[str]:
    magic = shell.find_line_magic(command)
    if token.startswith("-"):
        options = getattr(magic, "options", None)
        return () if options is None else [name for action in options()._actions for name in action.option_strings]
    previous = words[-2] if token and len(words) > 1 else words[-1]
    if previous in ("-b", "--backend"):
        from .config import CHOICES

        return CHOICES["backend"]
    if command in ("mb_workspace", "mb_compute"):
        return _about_azure(magic, command, previous)
    if previous in ("-r", "--run") or (command in ABOUT_RUNS and not previous.startswith("-")):
        return [*_experiments(), *_run_ids()]
    if command in ABOUT_EXPERIMENTS and not previous.startswith("-"):
        words_of_it = ("list", "show", "use", "create", "delete") if previous == "%mb_experiment" else ()
        return [*words_of_it, *_experiments()]
    return ()


def _about_azure(magic: object, command: str, previous: str) -> Iterable[str]:
    """Return the words of a command about Azure; of names only those that were chosen here."""
    from .cloud import CATALOGUE, PRIORITIES, chosen
    from .errors import WorkspaceError

    after = {
        "--size": [size.name for size in CATALOGUE if not size.retired],
        "--priority": list(PRIORITIES),
        "--sign-in": ["cli", "device", "environment", "managed"],
    }
    if previous.startswith("-"):
        return after.get(previous, ())
    if previous == f"%{command}":
        options = getattr(magic, "options")()  # noqa: B009 - of the command, see magics.command
        return next(action.choices for action in options._actions if action.dest == "what")
    try:
        place = chosen()
    except WorkspaceError:
        return ()
    return [name for name in ((place.workspace, "local") if command == "mb_workspace" else (place.compute,)) if name]


def _experiments() -> list[str]:
    from .errors import WorkspaceError
    from .workspace import Workspace

    try:
        return Workspace.local().experiments()
    except WorkspaceError:
        return []


def _run_ids() -> list[str]:
    from .errors import WorkspaceError
    from .workspace import Workspace

    try:
        return [folder.name for folder in Workspace.local().runs()[:MOST_RUNS]]
    except WorkspaceError:
        return []
