"""What commands about Azure need of the notebook: a sign-in, a sign of life, a yes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import ACCENT, TEXT, Durable, Shown, card, escape, somebody_there
from mb_jupyter.errors import AzureError, MBError

from .command import Commands

if TYPE_CHECKING:
    from mb_jupyter.cloud import Account, Chosen, Connection

LOCAL = "local"  # in place of the name of a workspace: this machine's


class AskingCommands(Commands):
    """Commands that sign in, wait and ask."""

    def place(self, args: Any) -> Chosen:
        """Return what was chosen, with what the line says over it."""
        from mb_jupyter import cloud

        before = cloud.chosen()
        named = args.name if args.what in ("use", "show", "delete") and args.name != LOCAL else None
        return before.over(
            sign_in=args.sign_in, tenant=args.tenant, subscription=args.subscription,
            resource_group=args.resource_group or ("" if named and named != before.workspace else None),
            workspace=named, region=args.region or ("" if named and named != before.workspace else None),
        )  # fmt: skip

    def account(self, place: Chosen) -> Account:
        """Sign in as was chosen; a code for another device is shown in the cell."""
        from mb_jupyter import cloud

        if not place.sign_in:
            raise AzureError(
                "It is not chosen yet how to sign in to Azure.",
                "Add --sign-in cli (the account of `az login`), device (a code), environment or managed.",
            )
        durable, told, shown = Durable(), list[tuple[str, str, datetime]](), list[str]()
        on_code = (lambda *code: told.append(code)) if somebody_there() else None

        def look() -> None:
            if told and not shown:
                shown.append(told[0][1])
                durable.show(_code(*told[0]))

        try:
            account = cloud.aside(lambda: cloud.sign_in(place.sign_in, place.tenant or None, on_code), look)
        except BaseException:
            if shown:
                durable.show(self.sentence("The code was not used."))
            raise
        if shown:
            durable.show(self.sentence(f"Signed in as {account.name}, tenant {account.tenant}."))
        return account

    def connect(self, place: Chosen) -> Connection:
        """Sign in and return the connection to the chosen workspace."""
        if place.complete:
            self.account(place)
        return place.connect()

    def telling(self, what: str, work: Callable[[Callable[[str], None]], Any]) -> Any:
        """Do the work and show at once that it goes on; a Stop ends the waiting, not what Azure does already."""
        from mb_jupyter import cloud

        durable, begun, shown_at = Durable(), time.monotonic(), 0.0
        said, notes = deque[str](maxlen=1), list[str]()

        def say(text: str) -> None:
            (notes if text.startswith(cloud.NOT_CHECKED) else said).append(text)

        def look() -> None:
            nonlocal shown_at
            if said and time.monotonic() - shown_at >= 1:
                shown_at = time.monotonic()
                durable.show(self.sentence(said.pop()))

        durable.show(Shown(f"{what} ..."))
        try:
            done = cloud.aside(lambda: work(say), look)
        except KeyboardInterrupt:
            durable.show(Shown(f"{what}: stopped"))
            raise MBError(
                f"Stopped while {what}. What Azure has begun, it may go on with.",
                "Look: %mb_workspace list, %mb_compute list. The same command again goes on from there.",
            ) from None
        except BaseException:
            durable.show(Shown(f"{what}: failed"))
            raise
        seconds = time.monotonic() - begun
        durable.show(Shown(f"{what}: done" + (f" in {seconds:.0f} s" if seconds >= 1 else "")))
        for note in notes:
            self.display(self.sentence(note))
        return done

    def agreed(self, args: Any, question: str) -> None:
        """Ask before something is made or deleted; raise unless the answer is yes."""
        if args.yes:
            return
        if not somebody_there():
            raise AzureError(f"Nobody is there to answer: {question}", "Add -y to answer yes.")
        if not self.answered(f"{question} [y/N] "):
            raise AzureError("Not confirmed; nothing was done.", "Answer y, or add -y.")

    def answered(self, question: str) -> bool:
        """Ask a question and tell whether the answer is yes; where nobody is there it is no."""
        return somebody_there() and input(question).strip().casefold() in ("y", "yes")

    def sentence(self, text: str) -> Shown:
        """Return a sentence as an output."""
        return Shown(text, f"<div>{escape(text)}</div>")


def _code(address: str, code: str, until: datetime) -> Shown:
    before = f"{until.astimezone():%H:%M %Z}"
    text = f"To sign in, open {address} on any device and type the code {code} before {before}."
    page = (
        f'<div>Open <a href="{escape(address)}" style="color:{TEXT[ACCENT]}" target="_blank" rel="noopener">'
        f"{escape(address)}</a> on any device and type the code</div>"
        f'<div style="font:600 22px/1.6 monospace;letter-spacing:2px">{escape(code)}</div>'
        f"<div>before {before}. This cell goes on by itself. Type it only if you have just asked for it.</div>"
    )
    return Shown(text, card("Sign in to Azure", page))
