"""Which images belong together: what the user says of it, by a column, by folders or by a pattern of paths."""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from .errors import TrainingError
from .listing import Candidate, Listing
from .pictures import SPLITS, Finding, Picture, count, natural, quoted, shown
from .rule import BURST, BURST_SECONDS, FIX, SIMILAR, Rule, read_rule
from .series import by_burst, by_likeness

__all__ = ["Rule", "apply", "apply_to_contents", "findings", "read_rule"]

OWN_COLUMN = "Group"
MOST_OF_A_CLASS = 0.5  # a group that holds more of a class is named
NAMED = 3


def apply(listing: Listing, rule: Rule, *, is_list: bool) -> Rule:
    """Give every candidate of the listing its ``user_group``; return the rule that decided.

    Raises :class:`TrainingError` where the rule does not fit: no such column, or no image has a group.
    """
    candidates = listing.candidates
    if not candidates:  # refused for that
        return rule
    own = rule == Rule() or rule.column.casefold() == OWN_COLUMN.casefold()
    if own and any(candidate.user_group for candidate in candidates):
        return Rule(column=OWN_COLUMN)
    if rule == Rule() or rule.contents:  # what the files hold is not known yet
        return rule
    if rule.column:
        names = _column(candidates, rule.column, is_list)
    elif rule.pattern is not None:
        names = [_matched(rule.pattern, candidate.path) for candidate in candidates]
    else:
        names = [_parent(candidate.path) if is_list else candidate.folder for candidate in candidates]
    found = set(names) - {""}
    if not found:
        raise TrainingError(*_none_found(rule, candidates))
    if rule.pattern is not None and len(found) == 1 and len(candidates) > 1 and "" not in names:
        raise TrainingError(
            f"`group` puts all images into one group, '{shown(found.pop())}': nothing could be kept for testing.",
            "Put the part that differs between groups into brackets, such as (tile_[0-9]+)_.",
        )
    listing.candidates = [
        replace(candidate, user_group=name, slices=_with_own_column(candidate))
        for candidate, name in zip(candidates, names, strict=True)
    ]
    return rule


def apply_to_contents(pictures: list[Picture], rule: Rule) -> list[Picture]:
    """Return the images that were read with the ``user_group`` that only their contents tell."""
    if not rule.contents:
        return pictures
    grouped = by_burst(pictures) if rule.contents == BURST else by_likeness(pictures)
    if pictures and not any(picture.user_group for picture in grouped):
        if rule.contents == SIMILAR:
            raise TrainingError("`group: similar` finds no two images that resemble each other.", "Leave `group` out.")
        raise TrainingError(
            f"`group: burst` finds no two images that one camera took within {BURST_SECONDS} seconds of each other.",
            "It needs the time and the camera in the EXIF data of JPEG files. Leave `group` out, or say it otherwise.",
        )
    return grouped


def _with_own_column(candidate: Candidate) -> tuple[tuple[str, str], ...]:
    """Return the further columns, with the column Group among them where something else decides."""
    own = ((OWN_COLUMN, candidate.user_group),) if candidate.user_group else ()
    return own + candidate.slices


def _column(candidates: Sequence[Candidate], wanted: str, is_list: bool) -> list[str]:
    """Return the cells of a further column of the list; capitals matter only where two columns differ in them."""
    columns = list(dict.fromkeys(name for candidate in candidates for name, _ in candidate.slices))
    alike = [name for name in columns if name == wanted]
    alike += [name for name in columns if name.casefold() == wanted.casefold()]
    if not alike:
        there = f"its further columns are {quoted(columns, 8)}" if columns else "it has no further columns"
        near = difflib.get_close_matches(wanted, columns, n=1)
        raise TrainingError(
            f"`group` names the column '{shown(wanted)}', which the list does not have; {there}."
            if is_list
            else f"`group` names the column '{shown(wanted)}', but the images come from a folder, without a list.",
            f"The nearest name is column: {shown(near[0])}." if near else FIX,
        )
    return [dict(candidate.slices).get(alike[0], "") for candidate in candidates]


def _matched(pattern: re.Pattern[str], path: str) -> str:
    """Return what names the group of a path: the first capture group of the match, or all of it."""
    found = pattern.search(path)
    if found is None:
        return ""
    return (found[1] if pattern.groups else found[0]) or ""


def _parent(path: str) -> str:
    folder = str(PurePosixPath(path).parent)
    return "" if folder == "." else folder


def _none_found(rule: Rule, candidates: Sequence[Candidate]) -> tuple[str, str]:
    if rule.folder:
        return (
            "`group: folder` needs folders inside the class folders, and there are none.",
            "Put the images of one object into one folder, as in class/object/1.jpg, or leave `group` out.",
        )
    if rule.pattern is None:
        return f"`group` names the column '{shown(rule.column)}', which is empty.", "Fill it, or leave `group` out."
    text = rule.pattern.pattern
    columns = {name for candidate in candidates for name, _ in candidate.slices}
    column = f" For the column, write column: {shown(text)}." if text in columns else ""
    return (
        f"`group` matches no image: '{shown(text)}' is found in no path, such as '{shown(candidates[0].path)}'.",
        f"Correct the regular expression; capitals count.{column}",
    )


def findings(pictures: Sequence[Picture], rule: Rule) -> Iterator[Finding]:
    """Yield what is to be said about the user's groups among the images that are used."""
    members: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if picture.user_group:
            members[picture.user_group].append(picture)
    if not members:
        return
    alone = tuple(picture.path for picture in pictures if not picture.user_group)
    message = (
        f"{count(len(pictures) - len(alone), 'image is', 'images are')} in {count(len(members), 'group')}, given by "
        f"{rule}. A group is never divided between training, validation and test images."
    )
    if alone:
        message += (
            f" {count(len(alone), 'image has', 'images have')} no group: {quoted(alone)}. Without a group, an image is "
            "treated as independent of all others."
        )
    yield Finding("groups", "note", message, alone)
    yield from _of_parts(members)
    yield from _of_classes(members, Counter(picture.label for picture in pictures))


def _of_parts(members: dict[str, list[Picture]]) -> Iterator[Finding]:
    """Yield a finding about groups that the user's own split parts."""
    parts = {name: [part for part in SPLITS if any(p.split == part for p in group)] for name, group in members.items()}
    torn = sorted((name for name, own in parts.items() if len(own) > 1), key=natural)
    if not torn:
        return
    files = tuple(picture.path for name in torn for picture in members[name])
    named = ", ".join(f"'{shown(name)}' ({' and '.join(parts[name])})" for name in torn[:NAMED])
    more = f" and {len(torn) - NAMED:,} more" if len(torn) > NAMED else ""
    yield Finding(
        "group in several parts",
        "warning",
        f"Your own split divides {count(len(torn), 'group')} ({count(len(files), 'image')}) between parts: "
        f"{named}{more}. Images of one group resemble each other, so the scores will be too high. "
        "Keep each group in one part.",
        files,
        reasons=tuple(f"{shown(p.user_group)}, {p.split or 'no part'}" for name in torn for p in members[name]),
    )


def _of_classes(members: dict[str, list[Picture]], totals: Counter[str]) -> Iterator[Finding]:
    """Yield findings about groups of several classes, and about a group that is most of a class."""
    counts = {name: Counter(picture.label for picture in group) for name, group in members.items()}
    mixed = sorted((name for name, labels in counts.items() if len(labels) > 1), key=natural)
    if mixed:
        yield Finding(
            "group of several classes",
            "note",
            f"{count(len(mixed), 'group holds', 'groups hold')} images of more than one class: {quoted(mixed, NAMED)}. "
            "That is right for a patient with two findings. If they are different objects with the same name, make the "
            "class a part of the group's name.",
        )
    large = [
        (label, name)
        for name, labels in counts.items()
        for label, number in labels.items()
        if number > MOST_OF_A_CLASS * totals[label] and number < totals[label]
    ]
    if large:
        large.sort(key=lambda each: (natural(each[0]), natural(each[1])))
        told = ", ".join(
            f"'{shown(name)}' has {counts[name][label]:,} of the {totals[label]:,} images of '{shown(label)}'"
            for label, name in large[:NAMED]
        )
        more = f", and {len(large) - NAMED:,} more" if len(large) > NAMED else ""
        yield Finding(
            "large group",
            "warning",
            f"A single group makes up most of a class: {told}{more}. The model may learn that group instead of the "
            "class. Add images of other groups.",
        )
