"""The data: every picture with its class, everything that is wrong with them, and a split without leaks.

::

    listing    which files there are, and their classes     similar   copies and near copies
    review     what a person left out or relabelled         split     train, validation, test
    groups     which images belong together                 findings  what to know about them, in sentences
    series     what may belong together, to propose it      identity, taken   what file system and EXIF say of a file
    nearby     what a wrong name probably means             refusals  why nothing can be trained, by its culprit

The front door is here: :func:`scan`, then :func:`split`. Runs without torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import groups, imagery, refusals, review, series
from .errors import PictureError, TrainingError
from .findings import by_severity, conflicting_labels, leaking_copies, leaks, of_classes, of_copies, of_files
from .formats import may_be_image
from .identity import is_settled
from .listing import Candidate, Entry, Listing, check_rows, list_entries, list_folder, read_rows
from .parallel import in_order
from .paths import at_home, brief, unreachable
from .pictures import SPLITS, Finding, Picture, Progress, Scan, count, quoted, shown
from .preprocess import open_bytes, read_bytes
from .similar import SMALL, group, marks
from .split import SplitRow, columns_of, fingerprint, read_split, rows_of, split, write_split
from .taken import taken

__all__ = [
    "SPLITS",
    "Entry",
    "Finding",
    "Picture",
    "Scan",
    "SplitRow",
    "check_rows",
    "columns_of",
    "count",
    "fingerprint",
    "leaks",
    "quoted",
    "read_rows",
    "read_split",
    "rows_of",
    "scan",
    "shown",
    "split",
    "write_split",
]

GIVEN = ("label", "split", "user_group", "slices")  # what the user says of an image, whatever its file holds
BATCH = 16  # files that a thread takes at a time


def scan(
    root: str | Path,
    *,
    entries: Iterable[tuple[Any, ...]] | None = None,
    progress: Progress | None = None,
    known: Mapping[str, Picture] | None = None,
    recheck: bool = False,
    exclude: Sequence[str] = (),
    labels: Path | None = None,
    group_by: str | None = None,
) -> Scan:
    """Read every picture once, on all cores, and say what was found.

    ``root`` is a folder with one folder per class, perhaps inside ``train/``, ``val/`` and ``test/``. With
    ``entries``, rows as in :class:`~.listing.Entry`, the files are those, and relative paths begin at
    ``root``. ``progress(done, total)`` is called as files are read. ``known`` has pictures of an earlier scan
    by path: a file that is certainly the same (see ``identity``) is not read again, and in doubt only its hash is
    taken; with ``recheck`` every file is in doubt. ``exclude`` names pictures to leave out, and the CSV file
    ``labels`` (ImageSource, Label, NewLabel) gives some another class. ``group_by`` says which images belong together:
    ``folder``, ``column: NAME``, or a regular expression for the path, whose first capture group, or whole match,
    names the group; or ``burst``, images that one camera took within seconds; or ``similar``, images that resemble
    each other. Without it the column Group of a list decides.

    Files that cannot be used are left out, each of them named in a finding. Raises :class:`TrainingError` when
    nothing can be trained: no folder, nothing in it, folders within class folders, a single class.
    """
    root = _checked(root)
    rule = groups.read_rule(group_by)
    listing = list_folder(root, nested=rule.nested) if entries is None else list_entries(root, entries)
    is_list = entries is not None
    rule = groups.apply(listing, rule, is_list=is_list)
    reviewed = review.apply(listing, exclude, review.read_patch(labels) if labels else ())
    known = known or {}
    read = _read_all(root, listing, known, progress, recheck)
    consistent, contradictions = conflicting_labels(groups.apply_to_contents(read, rule))
    used, left_out = leaking_copies(consistent)
    if len(known) != len(used) or not all(p.group and _is_same(p, known.get(p.path)) for p in used):
        used = group(used)  # of an unchanged folder the groups are known as well
    lost = imagery.unsupported(listing.candidates, listing.remarks.get(imagery.UNSUPPORTED, {}))
    findings = [*reviewed, *lost, *of_files(listing.remarks), *contradictions, *left_out]
    refusals.check_trainable(root, listing, used, findings)
    findings += [*of_classes(used, listing.classes), *of_copies(used), *imagery.of_images(used)]
    findings += imagery.wrong_extensions(used)
    findings += groups.findings(used, rule) if rule != groups.Rule() else series.findings(used, is_list=is_list)
    return Scan(root, used, by_severity(findings), sorted({picture.label for picture in used}))


def _checked(given: str | Path) -> Path:
    """Return the root as an absolute folder, or say why it is none."""
    root = at_home(given).absolute()
    if reason := unreachable(root):
        raise TrainingError(f"The folder '{shown(brief(root))}' cannot be opened: {reason}.", "Check the path.")
    if root.is_dir():
        return root
    if root.exists():
        raise TrainingError(
            f"'{shown(root)}' is a file, not a folder of images.",
            "Give the folder that has one folder per class, or a CSV file whose name ends in .csv.",
        )
    raise refusals.no_folder(given, root)


def _read_all(
    root: Path, listing: Listing, known: Mapping[str, Picture], progress: Progress | None, recheck: bool
) -> list[Picture]:
    """Return the usable pictures; what is unusable becomes a remark."""

    def read_batch(batch: Sequence[Candidate]) -> list[Picture | PictureError | None]:
        return [_read(root, candidate, known.get(candidate.path), recheck) for candidate in batch]

    pictures: list[Picture] = []
    done = 0
    total = len(listing.candidates)
    if progress:
        progress(0, total)
    batches = [listing.candidates[start : start + BATCH] for start in range(0, total, BATCH)]
    for batch, results in zip(batches, in_order(read_batch, batches), strict=True):
        for candidate, result in zip(batch, results, strict=True):
            if isinstance(result, Picture):
                pictures.append(result)
            elif result is None:
                listing.remark("not a picture", candidate.path)
            else:
                listing.remark(imagery.kind_of(result.kind, candidate.path), candidate.path, str(result))
        done += len(batch)
        if progress:
            progress(done, total)
    return pictures


def _given(picture: Picture | Candidate) -> dict[str, Any]:
    """Return what the user says of an image, whatever its file holds."""
    return {name: getattr(picture, name) for name in GIVEN}


def _is_same(picture: Picture, known: Picture | None) -> bool:
    """Return whether a picture is what was known, so that its group is known as well."""
    return known is not None and picture.sha256 == known.sha256 and _given(picture) == _given(known)


def _read(root: Path, candidate: Candidate, known: Picture | None, recheck: bool) -> Picture | PictureError | None:
    """Return the picture, or why it cannot be used, or None when the file does not claim to be one."""
    if known and known.settled and not recheck and known.identity == candidate.stamp.identity:
        return _relabelled(known, candidate)
    path = root / candidate.path
    try:
        if not may_be_image(path):
            return None
        settled = is_settled(candidate.stamp, path)
        data = read_bytes(path)
        sha256 = hashlib.sha256(data).hexdigest()
        size, mtime_ns, ctime_ns, inode = candidate.stamp.identity
        if known and known.sha256 == sha256 and known.size == size:
            same = replace(known, mtime_ns=mtime_ns, ctime_ns=ctime_ns, inode=inode, settled=settled)
            return _relabelled(same, candidate)
        opened = open_bytes(data, at_least=SMALL)
        phash, thumbnail = marks(opened.image)
        return Picture(
            path=candidate.path,
            **_given(candidate),
            sha256=sha256,
            width=opened.width,
            height=opened.height,
            format=opened.format,
            phash=phash,
            taken=taken(data),
            size=size,
            mtime_ns=mtime_ns,
            ctime_ns=ctime_ns,
            inode=inode,
            settled=settled,
            bits=opened.bits,
            spread=opened.spread,
            thumbnail=thumbnail,
        )
    except PictureError as error:
        return error


def _relabelled(known: Picture, candidate: Candidate) -> Picture:
    """Return a known picture with the label, the part and the group that it is given now."""
    given = _given(candidate)
    return known if _given(known) == given else replace(known, **given, group="", copies="")
