"""Why no model can be made of some data: each refusal names the folder, file or row that is in the way.

What the listing found, and what was left out and why, is what a refusal says; never a sentence that knows less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import TrainingError
from .findings import remark
from .imagery import UNSUPPORTED
from .listing import LAYOUT, Listing
from .nearby import near_folder
from .pictures import Finding, Picture, count, quoted, shown

TOLD = 3  # reasons named in one refusal
# what explains best why there is nothing, first
_ORDER = (
    "missing", "conflicting rows", "link outside", "link to a folder", "unreadable", "truncated", "huge",
    "not a picture", "loose",
)  # fmt: skip
_OF_SET = ("excluded", "conflicting label", "leak")  # findings that leave images out and are no remarks
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def no_folder(given: str | Path, root: Path) -> TrainingError:
    """Return why a folder that is not there cannot be used, with what is near."""
    if _WINDOWS.match(str(given)) and root.as_posix().startswith("/"):
        return TrainingError(
            f"There is no folder '{shown(given)}'.",
            "This is a path of Windows, and the notebook's kernel runs on another system: give the path there.",
        )
    near = near_folder(root)
    fix = f"There is '{shown(near)}'. " if near else ""
    return TrainingError(
        f"There is no folder '{shown(root)}'.",
        f"{fix}Check the spelling; a relative path begins at the current folder, {shown(Path.cwd())}.",
    )


def check_trainable(root: Path, listing: Listing, used: Sequence[Picture], findings: Sequence[Finding]) -> None:
    """Refuse data of which no model can be made."""
    name = shown(root)
    if not used:
        raise _nothing(name, listing, findings)
    classes = sorted({picture.label for picture in used})
    for label in classes:
        try:
            label.encode()
        except UnicodeEncodeError:  # made on a system with another encoding: no record could hold it
            raise TrainingError(
                f"The name of the class '{shown(label)}' in '{name}' is not valid Unicode.",
                "Rename its folder, then look at the images again.",
            ) from None
    if len(classes) < 2:
        raise _one_class(name, classes[0], listing, findings)


def _nothing(name: str, listing: Listing, findings: Sequence[Finding]) -> TrainingError:
    """Return why nothing can be used."""
    reasons, files = list(_reasons(listing, findings)), len(listing.candidates)
    layout = f"{LAYOUT}, and give the folder above them."
    loose = listing.remarks.get("loose", ())
    if listing.is_list:
        cause = "None of the listed images can be used."
        layout = "Correct the paths in the list; a relative path begins at the folder of the list."
    elif loose and not listing.classes:
        there = count(len(loose), "file lies", "files lie")
        raise TrainingError(f"{there} directly in '{name}', but there is no class folder with images.", layout)
    elif files:
        cause = f"None of the {count(files, 'file')} in '{name}' can be used."
    else:
        cause = f"There are no images in '{name}'."
    if not reasons:
        return TrainingError(cause, layout)
    return TrainingError(
        " ".join([cause, *(said for said, _ in reasons[:TOLD])]),
        next((fix for _, fix in reasons if fix), "") or layout,
    )


def _one_class(name: str, label: str, listing: Listing, findings: Sequence[Finding]) -> TrainingError:
    """Return why there is one class only, with what became of the others."""
    emptied = [other for other in sorted(listing.classes) if other != label]
    reasons = [said for said, _ in _reasons(listing, findings)][:TOLD]
    cause = f"There is only one class with usable images in '{name}': '{shown(label)}'."
    if emptied:
        cause += f" {quoted(emptied)} {'has' if len(emptied) == 1 else 'have'} none."
    fix = "A classifier needs at least two classes: add a folder with images of another class."
    if listing.is_list:
        fix = "A classifier needs at least two classes: add rows with another Label."
    return TrainingError(" ".join([cause, *reasons]), fix)


def _reasons(listing: Listing, findings: Iterable[Finding]) -> Iterable[tuple[str, str]]:
    """Yield what was left out and why, what explains most first, each with what to do about it."""
    kinds = sorted(
        (kind for kind in listing.remarks if kind not in ("hidden", "listed twice", UNSUPPORTED)),
        key=lambda kind: _ORDER.index(kind) if kind in _ORDER else len(_ORDER),
    )
    told = [(finding.message, "") for finding in findings if finding.kind == UNSUPPORTED]
    told += [remark(kind, listing.remarks[kind]) for kind in kinds]
    others = [(finding.message, "") for finding in findings if finding.excluded and finding.kind in _OF_SET]
    yield from told
    yield from others
    if not told and not others and "hidden" in listing.remarks:
        yield remark("hidden", listing.remarks["hidden"])[0], ""
