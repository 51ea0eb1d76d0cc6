"""What to know about the data before training, in whole sentences that name the files and the next step."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from .formats import NAMES
from .imagery import UNSUPPORTED
from .pictures import SPLITS, Finding, Picture, Severity, count, quoted, shown
from .split import ROOM

FEW = 10  # pictures of a class below which neither learning nor measuring is reliable
IMBALANCE = 10  # times that the largest class may outnumber the smallest
NAMED = 8  # classes named in one sentence
_ORDER = {"error": 0, "warning": 1, "note": 2}


class _Remark(NamedTuple):
    severity: Severity
    one: str
    many: str
    fix: str
    excluded: bool = True


# what is said of files that are left out, by kind; "{n}" and "{files}" are filled in
_REMARKS = {
    "unreadable": _Remark(
        "warning",
        "1 file cannot be read and is left out: {files}.",
        "{n} files cannot be read and are left out: {files}.",
        "Save such a file again as JPEG or PNG, or delete it.",
    ),
    "truncated": _Remark(
        "warning",
        "1 picture is cut short and is left out: {files}.",
        "{n} pictures are cut short and are left out: {files}.",
        "Copy or download such a file again.",
    ),
    "huge": _Remark(
        "warning",
        "1 picture is too large to be opened safely and is left out: {files}.",
        "{n} pictures are too large to be opened safely and are left out: {files}.",
        "Save such a picture with fewer pixels.",
    ),
    "missing": _Remark(
        "warning",
        "1 listed image is not there and is left out: {files}.",
        "{n} listed images are not there and are left out: {files}.",
        "Correct the path in the list; a relative path begins at the folder of the list.",
    ),
    "conflicting rows": _Remark(
        "error",
        "1 image is listed with two labels and is left out: {files}.",
        "{n} images are listed with two labels and are left out: {files}.",
        "Keep the row with the right label.",
    ),
    "listed twice": _Remark(
        "note",
        "1 picture is listed more than once with the same label and counts once: {files}.",
        "{n} pictures are listed more than once with the same label and count once: {files}.",
        "Nothing needs to be done.",
        excluded=False,
    ),
    "link outside": _Remark(
        "warning",
        "1 link leads out of the folder and is left out: {files}.",
        "{n} links lead out of the folder and are left out: {files}.",
        "Replace links with the images themselves, or list the images in a CSV file.",
    ),
    "link to a folder": _Remark(
        "warning",
        "1 link to another folder of the same data is left out: {files}.",
        "{n} links to other folders of the same data are left out: {files}.",
        "Delete such a link, or replace it with the images themselves.",
    ),
    "loose": _Remark(
        "warning",
        "1 file lies beside the class folders, in no class, and is left out: {files}.",
        "{n} files lie beside the class folders, in no class, and are left out: {files}.",
        "Move images into the folder of their class.",
    ),
    "not a picture": _Remark(
        "note",
        f"1 file is not a {NAMES} image and is left out: {{files}}.",
        f"{{n}} files are not {NAMES} images and are left out: {{files}}.",
        "Convert to JPEG or PNG what should count.",
    ),
    "hidden": _Remark(
        "note",
        "1 file or folder that is hidden, or was left behind by a system or program, is ignored: {files}.",
        "{n} files or folders that are hidden, or were left behind by a system or program, are ignored: {files}.",
        "Nothing needs to be done.",
    ),
    "no part": _Remark(
        "note",
        "1 folder beside the parts of the split holds no images and is ignored: {files}.",
        "{n} folders beside the parts of the split hold no images and are ignored: {files}.",
        "Nothing needs to be done.",
        excluded=False,
    ),
}


def of_files(remarks: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """Yield a finding for every kind of file that is left out; ``remarks`` is kind -> name -> reason."""
    for kind, files in remarks.items():
        if kind == UNSUPPORTED:  # told class by class
            continue
        about, reasons = _REMARKS[kind], tuple(files.values()) if any(files.values()) else ()
        yield Finding(kind, about.severity, " ".join(remark(kind, files)), tuple(files), about.excluded, reasons)


def remark(kind: str, files: Mapping[str, str]) -> tuple[str, str]:
    """Return what is said of files of a kind, name -> reason, and what to do about them."""
    about = _REMARKS[kind]
    limit = 3 if len(files) <= 3 else 1
    named = [f"'{shown(name)}'" + (f" ({shown(why)})" if why else "") for name, why in list(files.items())[:limit]]
    more = f" and {len(files) - limit:,} more" if len(files) > limit else ""
    sentence = about.one if len(files) == 1 else about.many
    return sentence.format(n=f"{len(files):,}", files=", ".join(named) + more), about.fix


def of_copies(pictures: Sequence[Picture]) -> Iterator[Finding]:
    """Yield findings about groups of copies and near copies that are used."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups[picture.copies].append(picture)
    several = [members for members in groups.values() if len(members) > 1]
    exact = [same for members in several for same in _by_content(members).values() if len(same) > 1]
    near = [members for members in several if len(_by_content(members)) > 1]
    torn = [members for members in near if len({picture.label for picture in members}) > 1]
    alike = [members for members in near if members not in torn]
    if exact:
        yield _about_groups(
            "duplicate",
            "note",
            exact,
            "the same file more than once in a class",
            "Copies stay in one part of the split; delete them if they are not meant.",
        )
    if alike:
        yield _about_groups(
            "near duplicate",
            "note",
            alike,
            "nearly the same picture more than once in a class",
            "They stay in one part of the split, so that none is tested that a near copy taught.",
        )
    if torn:
        yield _about_groups(
            "near duplicate, two labels",
            "warning",
            torn,
            "nearly the same picture in different classes",
            "Look at them and correct a wrong label; until then they are used as they are.",
        )


def _by_content(members: Iterable[Picture]) -> dict[str, list[Picture]]:
    contents: dict[str, list[Picture]] = defaultdict(list)
    for picture in members:
        contents[picture.sha256].append(picture)
    return contents


def _about_groups(kind: str, severity: Severity, groups: Sequence[Sequence[Picture]], what: str, fix: str) -> Finding:
    files = [picture.path for members in groups for picture in members]
    example = quoted(picture.path for picture in groups[0])
    times = "Once" if len(groups) == 1 else f"{len(groups):,} times"
    such = "" if len(groups) == 1 else "such as "
    message = f"{times} there is {what} ({count(len(files), 'picture')}): {such}{example}. {fix}"
    return Finding(kind, severity, message, tuple(files))


def conflicting_labels(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Finding]]:
    """Leave out identical files with different labels: nothing can be learned from a contradiction."""
    torn = [same for same in _by_content(pictures).values() if len({picture.label for picture in same}) > 1]
    if not torn:
        return list(pictures), []
    finding = _about_groups(
        "conflicting label",
        "error",
        torn,
        "the same file in different classes",
        "All of them are left out; keep each in its right class only.",
    )
    refused = {picture.sha256 for same in torn for picture in same}
    kept = [picture for picture in pictures if picture.sha256 not in refused]
    return kept, [Finding(finding.kind, finding.severity, finding.message, finding.files, excluded=True)]


def leaking_copies(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Finding]]:
    """Where the user's own split has a file in two parts, keep it in the part that measures."""
    parts = {"": 0, "train": 0, "validation": 1, "test": 2}
    best: dict[str, int] = {}
    for picture in pictures:
        best[picture.sha256] = max(parts[picture.split], best.get(picture.sha256, 0))
    leaking = [picture for picture in pictures if parts[picture.split] < best[picture.sha256]]
    if not leaking:
        return list(pictures), []
    files = tuple(picture.path for picture in leaking)
    finding = Finding(
        "leak",
        "warning",
        f"{count(len(files), 'picture is', 'pictures are')} left out because the same file is also in a part that "
        f"measures (validation or test): {quoted(files)}. A picture that was trained on cannot test; delete one copy.",
        files,
        excluded=True,
    )
    return [picture for picture in pictures if parts[picture.split] == best[picture.sha256]], [finding]


def of_classes(pictures: Sequence[Picture], classes: Iterable[str]) -> Iterator[Finding]:
    """Yield findings about classes: empty, small, unequal, hard to tell apart by name, not held out."""
    counts = Counter(picture.label for picture in pictures)
    empty = sorted(label for label in classes if label not in counts)
    if empty:
        yield Finding(
            "empty class",
            "warning",
            f"{quoted(empty, NAMED)} {'has' if len(empty) == 1 else 'have'} no usable picture and "
            f"{'is no class' if len(empty) == 1 else 'are no classes'}. Add pictures, or delete the folder.",
            tuple(empty),
        )
    few = {label: number for label, number in sorted(counts.items()) if number < FEW}
    if few:
        yield Finding(
            "tiny class",
            "warning",
            f"{_with_counts(few)}: fewer than {FEW} is too few to learn a class, or to measure how well it was "
            "learned. Add pictures.",
        )
    large, small = (pick(counts, key=lambda label: (counts[label], label)) for pick in (max, min))
    if counts[large] > IMBALANCE * counts[small]:
        yield Finding(
            "imbalance",
            "warning",
            f"'{shown(large)}' has {counts[large]:,} pictures and '{shown(small)}' {counts[small]:,}: the model will "
            "prefer the frequent class. Add pictures of the rare one, and read the report class by class.",
        )
    yield from _of_names(counts)
    yield from _of_parts(pictures, sorted(counts))


def _with_counts(counts: Mapping[str, int]) -> str:
    parts = [f"'{shown(label)}' has {count(number, 'picture')}" for label, number in counts.items()]
    more = f" and {len(parts) - NAMED:,} more classes" if len(parts) > NAMED else ""
    return ", ".join(parts[:NAMED]) + more


def _of_names(labels: Iterable[str]) -> Iterator[Finding]:
    """Yield a finding about names that some systems take for the same."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        alike[unicodedata.normalize("NFKC", label).casefold().strip()].append(label)
    for names in alike.values():
        if len(names) > 1:
            yield Finding(
                "similar class names",
                "warning",
                f"The classes {quoted(names, NAMED)} differ only in capitals, spaces or the encoding of accents. "
                "If they are one class, put the pictures into one folder.",
            )


def _of_parts(pictures: Sequence[Picture], labels: Sequence[str]) -> Iterator[Finding]:
    """Yield findings about classes that a part of the split does not have."""
    given = {picture.split for picture in pictures} & set(SPLITS)
    for part in SPLITS if given - {"train"} else ():
        there = {picture.label for picture in pictures if picture.split in (part, "" if part == "train" else part)}
        lacking = [label for label in labels if label not in there]
        if lacking and (part in given or part == "train"):
            what = "cannot be learned" if part == "train" else "cannot be measured there"
            yield Finding(
                f"not in {part}",
                "error" if part == "train" else "warning",
                f"Your {part} part has no picture of {quoted(lacking, NAMED)}, so that "
                f"{'this class' if len(lacking) == 1 else 'these classes'} {what}. Move some pictures there.",
            )
    if {"validation", "test"} <= given:
        return
    groups: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        groups[picture.label].add(picture.group)
    lacking = [label for label in labels if len(groups[label]) < ROOM - len(given & {"validation", "test"})]
    if lacking:
        what = "groups" if any(p.user_group for p in pictures if p.label in lacking) else "different images"
        yield Finding(
            "not held out",
            "warning",
            f"{quoted(lacking, NAMED)} {'has' if len(lacking) == 1 else 'have'} fewer than {ROOM} {what}: all of their "
            "images are used for training, so the report cannot say how well "
            f"{'this class is' if len(lacking) == 1 else 'these classes are'} recognised. Add images"
            f"{' of other groups' if what == 'groups' else ''}.",
        )


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, errors first, else in the order they came."""
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])
