"""What to know about the images themselves: formats that cannot be read here, empty, tiny and very wide ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .formats import EXTENSIONS, MISSING, format_by_name
from .listing import Candidate
from .pictures import Finding, Picture, count, quoted, shown

UNSUPPORTED = "unsupported"  # kind of what is said of files in a format that this installation cannot read
TINY = 8  # pixels; an image with a shorter side has nothing to look at
WIDE = 3  # times as wide as high, or as high as wide: two thirds of it are outside the centred square
FAINT = 12  # levels of 256 by which the pixels of a nearly empty image differ at the most
USUAL = 0.2  # of a class: where so many images are nearly empty, that is how its images look
FULL = 16  # bits of a file that stores more than 8
NAMED = 8  # classes named in one sentence


def kind_of(kind: str, path: str) -> str:
    """Return the kind of a refused file: one whose name hides its format is just unreadable."""
    return "unreadable" if kind == UNSUPPORTED and format_by_name(path) not in MISSING else kind


def unsupported(files: Sequence[Candidate], refused: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding for each format that cannot be read here: what of each class is lost, and what to install."""
    of_class = Counter(file.label for file in files)
    for name in MISSING:
        lost = [file for file in files if file.path in refused and format_by_name(file.path) == name]
        if not lost:
            continue
        by_class = Counter(file.label for file in lost)
        parts = [f"{number:,} of {of_class[label]:,} in '{shown(label)}'" for label, number in sorted(by_class.items())]
        more = f" and {len(parts) - NAMED:,} more classes" if len(parts) > NAMED else ""
        emptied = sorted(label for label, number in by_class.items() if number == of_class[label])
        nothing = f" Nothing is left of {quoted(emptied, NAMED)}." if emptied else ""
        yield Finding(
            UNSUPPORTED,
            "error" if emptied else "warning",
            f"{len(lost):,} of {count(len(files), 'file')} {'is a' if len(lost) == 1 else 'are'} {name} "
            f"image{'' if len(lost) == 1 else 's'}, which cannot be read here, and left out: "
            f"{', '.join(parts[:NAMED])}{more}.{nothing} Install the reader with `{MISSING[name]}`, then look again; "
            "or convert them to JPEG.",
            tuple(file.path for file in lost),
            excluded=True,
        )


def of_images(pictures: Sequence[Picture]) -> Iterator[Finding]:
    """Yield findings about images that are used and that a network can hardly learn from as they are."""
    yield from _some(
        "empty image",
        [picture for picture in pictures if not picture.spread],
        "shows a single colour and nothing else",
        "show a single colour and nothing else",
        "They are used as they are; delete them if they are not meant.",
    )
    yield from _some(
        "nearly empty image",
        _nearly_empty(pictures),
        "is nearly empty: its brightness hardly changes",
        "are nearly empty: their brightness hardly changes",
        "They are used as they are; delete them if they are not meant.",
    )
    yield from _some(
        "tiny image",
        [picture for picture in pictures if min(picture.width, picture.height) < TINY],
        f"has fewer than {TINY} pixels on one side",
        f"have fewer than {TINY} pixels on one side",
        "There is hardly anything to see in them; replace or delete them.",
        sizes=True,
    )
    yield from _wide([picture for picture in pictures if _shape(picture) >= WIDE])
    yield from _few_bits([picture for picture in pictures if 0 < picture.bits < FULL])


def _some(
    kind: str, found: Sequence[Picture], one: str, many: str, advice: str, *, sizes: bool = False
) -> Iterator[Finding]:
    if found:
        files = tuple(picture.path for picture in found)
        example = f" ({found[0].width} x {found[0].height})" if sizes else ""
        first = f"{'' if len(files) == 1 else 'such as '}'{shown(files[0])}'{example}"
        named = first if sizes else quoted(files)
        said = f"{count(len(files), 'image')} {one if len(files) == 1 else many}: {named}. {advice}"
        yield Finding(kind, "warning", said, files)


def _nearly_empty(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the nearly empty images of classes where that is rare: of open sea, say, most images are."""
    of_class = Counter(picture.label for picture in pictures)
    found = [picture for picture in pictures if 0 < picture.spread <= FAINT]
    empty = Counter(picture.label for picture in found)
    return [picture for picture in found if empty[picture.label] < USUAL * of_class[picture.label]]


def _shape(picture: Picture) -> float:
    """Return how many times the longer side is as long as the shorter."""
    return max(picture.width, picture.height) / min(picture.width, picture.height)


def _wide(found: Sequence[Picture]) -> Iterator[Finding]:
    if not found:
        return
    worst = max(found, key=_shape)
    unseen = 100 * (1 - 1 / _shape(worst))
    named = f"'{shown(worst.path)}' ({worst.width} x {worst.height})"
    number = count(len(found), "image is", "images are")
    yield Finding(
        "wide image",
        "warning",
        f"{number} at least {WIDE} times as wide as high, or as high as wide. With `fit: crop`, the default, the "
        f"network sees only the square in the centre: {unseen:.0f} % of {named} is never seen. "
        "Train with `fit: pad` to show all of an image.",
        tuple(picture.path for picture in found),
    )


def _few_bits(found: Sequence[Picture]) -> Iterator[Finding]:
    if not found:
        return
    depths = Counter(picture.bits for picture in found)
    used = ", ".join(f"{bits} bits in {count(number, 'image')}" for bits, number in sorted(depths.items()))
    differ = " Images that use different ranges are scaled differently: save all of them with 8 bits if it matters."
    yield Finding(
        "few bits",
        "warning" if len(depths) > 1 else "note",
        f"{count(len(found), 'image stores', 'images store')} 16 bits for each value and "
        f"{'uses' if len(found) == 1 else 'use'} fewer: {used}, such as '{shown(found[0].path)}'. Each is scaled by "
        "what it uses, in training and prediction alike, so that it is not black."
        + (differ if len(depths) > 1 else ""),
        tuple(picture.path for picture in found),
    )


def wrong_extensions(pictures: Iterable[Picture]) -> Iterator[Finding]:
    """Yield a finding about images whose extension names another format than their content has."""
    wrong = {
        picture.path: f"it is a {picture.format}"
        for picture in pictures
        if not picture.path.casefold().endswith(EXTENSIONS[picture.format])
    }
    if wrong:
        first = next(iter(wrong))
        yield Finding(
            "wrong extension",
            "note",
            f"{count(len(wrong), 'image has', 'images have')} an extension that does not fit the content, such "
            f"as '{shown(first)}': {wrong[first]}. The content decides; rename the file if other programs mind.",
            tuple(wrong),
            reasons=tuple(wrong.values()),
        )
