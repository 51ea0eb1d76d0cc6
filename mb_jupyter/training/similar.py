"""Copies and near copies: what an image is recognised by, and the groups of images that must not be parted.

Two ways find near copies. A perceptual hash finds those that were resized, recompressed or written on. What is
turned, mirrored, cut, framed, brightened or made grey has another hash; thumbnails find it: a cheap look at all pairs
(candidates.py), then an exact one at the few that may be (registration.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from . import candidates, registration, thumbnails
from .parallel import in_order
from .pictures import Picture, natural

HASH_SIZE = 16  # 256 bits; with 64 bits, handwritten digits of different people pass for copies
HASH_BITS = HASH_SIZE**2
COLOUR_BYTES = 8
NEAR_BITS = 32  # bits that may differ between a picture and its resized, recompressed or trimmed copy
NEAR_COLOUR = 12  # levels that the mean colour of a quarter may differ
SMALL = 64  # pixels the hash looks at, per side

BLOCK = 16  # rows compared by one thread at a time

Array: TypeAlias = "np.ndarray[Any, Any]"


def marks(image: Image.Image) -> tuple[int | None, str]:
    """Return the perceptual hash and the thumbnail of an RGB image; None and "" of one without anything to compare."""
    small = image.resize((SMALL, SMALL), Image.Resampling.LANCZOS)
    return perceptual_hash(small), thumbnails.thumbnail(small)


def perceptual_hash(small: Image.Image) -> int | None:
    """Return a number that resized or recompressed copies nearly share; None for a plain image.

    256 bits of the discrete cosine transform of the grey levels (ImageHash's ``phash``) and, because that
    cannot tell a red ball from a blue one, the mean Cb and Cr of each quarter in 64 more. ``small`` is 64 x 64.
    """
    from imagehash import phash

    grey = small.convert("L")
    if np.asarray(grey).std() < thumbnails.PLAIN:
        return None
    structure = np.packbits(phash(grey, hash_size=HASH_SIZE).hash).tobytes()
    quarters = np.asarray(small.convert("YCbCr").resize((2, 2), Image.Resampling.BOX))[:, :, 1:]
    return int.from_bytes(structure + quarters.tobytes(), "big")


def group(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the images with ``copies`` and ``group`` filled.

    ``copies`` is the beginning of the smallest hash among an image's copies, near copies and copies of those, so that
    it depends on nothing but the files. ``group`` joins these with the user's groups; its name is the first of the
    user's in it, in natural order, else that of the copies.
    """
    unique = {picture.sha256: picture for picture in pictures}
    order = sorted(unique)
    leader = np.arange(len(order))
    for first, others in _pairs([unique[sha] for sha in order]):
        _join(leader, first, others)
    copies = {sha: order[leader[index]][:16] for index, sha in enumerate(order)}
    for first, others in _same_user_group(pictures, order):
        _join(leader, first, others)
    names = _names(pictures, {sha: order[leader[index]] for index, sha in enumerate(order)})
    return [replace(p, group=names[p.sha256], copies=copies[p.sha256]) for p in pictures]


def _join(leader: Array, first: int, others: Array) -> None:
    """Make one of all the groups that ``first`` and ``others`` belong to; ``leader`` has the first of each group."""
    a = leader[first]
    for b in np.unique(leader[others]):
        if b != a:
            leader[leader == max(a, b)] = min(a, b)
            a = min(a, b)


def _same_user_group(pictures: Sequence[Picture], order: Sequence[str]) -> Iterator[tuple[int, Array]]:
    """Yield one image of every group that the user gave, and all of its images, as indices into ``order``."""
    index = {sha: number for number, sha in enumerate(order)}
    members: dict[str, set[int]] = defaultdict(set)
    for picture in pictures:
        if picture.user_group:
            members[picture.user_group].add(index[picture.sha256])
    for numbers in members.values():
        yield min(numbers), np.array(sorted(numbers), dtype=np.intp)


def _names(pictures: Sequence[Picture], leaders: dict[str, str]) -> dict[str, str]:
    """Return the name of the group of every hash; ``leaders`` has the smallest hash of its group."""
    given: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        if picture.user_group:
            given[leaders[picture.sha256]].add(picture.user_group)
    taken = set().union(*given.values())
    names = {leader: min(groups, key=lambda name: (natural(name), name)) for leader, groups in given.items()}
    for leader in set(leaders.values()) - names.keys():
        # a user may name a group as we do, in a split.csv that is given back as a list
        names[leader] = leader if leader[:16] in taken else leader[:16]
    return {sha: names[leader] for sha, leader in leaders.items()}


def _pairs(images: Sequence[Picture]) -> Iterator[tuple[int, Array]]:
    """Yield the index of an image and those of near copies of it, until every pair was yielded."""
    shown = np.array([index for index, image in enumerate(images) if image.thumbnail], dtype=np.intp)
    small = thumbnails.unpacked([images[index].thumbnail for index in shown])
    place = np.full(len(images), -1)
    place[shown] = np.arange(len(shown))
    hashed = np.array([index for index, image in enumerate(images) if image.phash is not None], dtype=np.intp)
    for first, others in _near([images[index].phash or 0 for index in hashed]):
        one, near = hashed[first], hashed[others]
        known = (place[near] >= 0) & (place[one] >= 0)
        pairs = np.stack([np.full(int(known.sum()), place[one]), place[near[known]]], 1)
        yield int(one), np.concatenate([near[~known], shown[registration.confirmed(small, pairs)[:, 1]]])
    for first, second in registration.copies(small, candidates.candidates(small.grey)):
        yield int(shown[first]), shown[[second]]


def _near(hashes: list[int]) -> Iterator[tuple[int, Array]]:
    """Yield every number that has near ones among the later numbers, and those.

    Every pair is compared: 100,000 hashes take seconds, and no choice of pictures makes it slower.
    """
    raw = b"".join(number.to_bytes(HASH_BITS // 8 + COLOUR_BYTES, "big") for number in hashes)
    table = np.frombuffer(raw, dtype=np.uint8).reshape(len(hashes), HASH_BITS // 8 + COLOUR_BYTES)
    words = np.ascontiguousarray(np.ascontiguousarray(table[:, : HASH_BITS // 8]).view(np.uint64).T)
    colours = table[:, HASH_BITS // 8 :].astype(np.int16)
    grey = np.abs(colours - thumbnails.NEUTRAL).max(axis=1, initial=0) <= thumbnails.GREY

    def block(start: int) -> list[tuple[int, Array]]:
        rows = range(start, min(start + BLOCK, len(hashes)))
        return [(row, others) for row in rows if len(others := _later(words, colours, grey, row))]

    for found in in_order(block, range(0, len(hashes), BLOCK)):
        yield from found


def _later(words: Array, colours: Array, grey: Array, row: int) -> Array:
    """Return the numbers after ``row`` whose hash is near its own."""
    later = words[:, row + 1 :]
    # half of the bits rules out nearly all
    differing = _bits(later[0] ^ words[0, row]) + _bits(later[1] ^ words[1, row])
    near = np.flatnonzero(differing <= NEAR_BITS)
    total = _bits(later[:, near] ^ words[:, row, None]).sum(axis=0, dtype=np.int64)
    near = near[total <= NEAR_BITS] + row + 1
    alike = np.abs(colours[near] - colours[row]).max(axis=1, initial=0) <= NEAR_COLOUR
    return near[alike | grey[near] ^ grey[row]]  # a copy without colour has the structure alone


def _bits(numbers: Array) -> Array:
    """Return how many bits of each 64-bit number are set; environments in Azure may have numpy 1, which cannot."""
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(numbers))
    # the sums of neighbouring bits, of pairs, of fours; then all eight bytes at once
    pairs = numbers - ((numbers >> np.uint64(1)) & np.uint64(0x5555555555555555))
    fours = (pairs & np.uint64(0x3333333333333333)) + ((pairs >> np.uint64(2)) & np.uint64(0x3333333333333333))
    eights = (fours + (fours >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return ((eights * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)
