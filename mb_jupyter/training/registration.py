"""The exact look at a pair of images: is one a turned, mirrored, cut, framed or grey copy of the other?

The two thumbnails are laid over each other, first roughly (eight ways up, three zooms, nine shifts), then exactly by an
affine map (Lucas-Kanade, in the inverse compositional form of Baker and Matthews 2004), and what lies over
each other is correlated after its local contrast was made equal. A correlation is worth the more the more detail it
was found in: few strokes on an empty ground fit each other easily. It is worth less where the map turns or slants:
a copy is cut, framed or mirrored, while two bottles fit each other best somehow askew.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .candidates import ZOOMS, line
from .parallel import in_order
from .thumbnails import CELLS, SIDE, Thumbnails, is_grey

ROUGH = 16  # pixels per side of the rough look
MARGIN = 2  # of them left out on every side, so that there is room to shift
SHIFTS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1))
WAVES = 6  # of the rough look, per direction; an even number
ROUGHLY = 0.6  # correlation of them below which the exact look is not worth its time
CLOSER = 0.7  # and below which it is not worth going on
PASSES = ((3, 1.2, 4.0), (4, 0.7, 3.0))  # steps of the exact look, and its details: from, to (pixels)
LONGEST_STEP = 0.1  # of half a side
SHAPE = 0.35  # that the map may differ from the identity: a copy is cut by a fifth, not stretched to double
NOISE = 3.0  # grey levels of contrast that are none
INSIDE = 0.92  # of half a side: nearer to the edge the contrast of a neighbourhood is not known
OVERLAP = 0.5  # of the image that has to lie within the other
STRAIGHT = 0.03  # shear of the map up to which one image is a crop of the other, perhaps turned or mirrored, no more
CORRELATION = 0.92  # of copies at the least
EVIDENCE = 7.5  # standard deviations above chance, at the least, of a straight map
ONE_GREY = 9.2  # the same where only one of the two has colour
BOTH_GREY = 11.4  # and where none has: then two strokes of a pen are soon alike
CROOKED = 1.8  # so many more where the map is not straight: images that are no copies fit best somehow askew
TURNED = 0.5  # so many more where one had to be turned or mirrored: seven more ways to be alike by chance
SURE = 11.0  # evidence of a straight map at which a lower correlation is noise: that of a dark image, say
NOISY = 0.8  # the correlation that is enough then
HASH_GREY = 11.0  # and where none has, but the hashes are near
EVERY_CURVE = 0.98  # correlation that is enough then
COLOUR = 6.0  # levels that the mean colour of a cell may differ, once the saturation is the same
MORE_COLOUR = 2.5  # so many more for each standard deviation beyond EVIDENCE
MOST_COLOUR = 16.0
SATURATION = 2.5  # times that the saturation may differ
PAIRS = 256  # compared by one thread at a time

Array: TypeAlias = "np.ndarray[Any, Any]"
_AT = ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1).astype(np.float32)
_SIGNS = np.array([[(-1) ** (down * u + right * v) for down in (0, 1) for right in (0, 1)]
                   for u in (0, 1) for v in (0, 1)], np.float32)  # fmt: skip
_CELL = ((np.arange(CELLS) + 0.5) / CELLS * 2 - 1).astype(np.float32)
_CELLS = tuple(grid.ravel() for grid in np.meshgrid(_CELL, _CELL, indexing="xy"))
_Y, _X = (grid.ravel() for grid in np.meshgrid(_AT, _AT, indexing="ij"))


class Match(NamedTuple):
    """How well pairs fit: each array has one entry a pair."""

    correlation: Array
    detail: Array
    colour: Array  # levels that the colours differ at the most
    grey: Array  # how many of the two have no colour
    turned: Array  # whether one had to be turned or mirrored
    shear: Array  # of the map that lays one over the other: the sine of a turn, or a slant


def copies(thumbnails: Thumbnails, pairs: Array) -> Array:
    """Return those of the pairs (P, 2) of indices that are copies of each other."""
    blocks = [pairs[start : start + PAIRS] for start in range(0, len(pairs), PAIRS)]
    found = list(in_order(lambda block: block[are_copies(match(thumbnails, block))], blocks))
    return np.concatenate(found) if found else pairs


def are_copies(found: Match) -> Array:
    """Return which of the pairs are copies: the colours agree, or more detail does where there are none."""
    evidence = _evidence(found)
    allowed = np.clip(COLOUR + MORE_COLOUR * (evidence - EVIDENCE), COLOUR, MOST_COLOUR)
    alike = (found.grey > 0) | (found.colour <= allowed)
    straight = found.shear <= STRAIGHT
    needed = np.array([EVIDENCE, ONE_GREY, BOTH_GREY])[found.grey] + TURNED * found.turned + CROOKED * ~straight
    enough = np.where(straight & (evidence >= SURE), NOISY, CORRELATION)
    return np.asarray((found.correlation >= enough) & (evidence >= needed) & alike)


def confirmed(thumbnails: Thumbnails, pairs: Array) -> Array:
    """Return those of the pairs with the same hash that are copies: without colour a hash is not enough.

    The handwritten digits of two people may share a hash, but not every curve.
    """
    colourless = is_grey(thumbnails.colour)
    doubted = np.flatnonzero(colourless[pairs].all(1))
    kept = np.ones(len(pairs), bool)
    for start in range(0, len(doubted), PAIRS):
        some = doubted[start : start + PAIRS]
        found = match(thumbnails, pairs[some])
        kept[some] = (found.correlation >= EVERY_CURVE) | (_evidence(found) >= HASH_GREY)
    return np.asarray(pairs[kept])


def _evidence(found: Match) -> Array:
    """Return how many standard deviations the correlation is above chance (Fisher's transformation)."""
    return np.asarray(np.arctanh(np.clip(found.correlation, 0, 0.9999)) * np.sqrt(found.detail))


def match(thumbnails: Thumbnails, pairs: Array) -> Match:
    """Lay the images of each pair over each other and return how well they fit; pairs that do not get 0."""
    number = len(pairs)
    found = Match(np.zeros(number), np.zeros(number), np.full(number, 255.0), np.zeros(number, np.intp),
                  np.zeros(number, bool), np.ones(number))  # fmt: skip
    one, other = (thumbnails.grey[pairs[:, side]].astype(np.float32) for side in (0, 1))
    correlation, way, zoom, swapped = _roughly(one, other)
    near = np.flatnonzero(correlation >= ROUGHLY)
    index = np.where(swapped[near, None], pairs[near][:, ::-1], pairs[near])
    way, zoom = way[near], zoom[near]
    first = ways_up(thumbnails.grey[index[:, 0]].astype(np.float32))[np.arange(len(near)), way]
    second = thumbnails.grey[index[:, 1]].astype(np.float32)
    affine = _affine(zoom, _shift(first, second, zoom))
    for steps, fine, coarse in PASSES:
        affine, correlation = _exactly(first, second, affine, steps, (fine, coarse))
        kept = correlation >= CLOSER
        near, index, way = near[kept], index[kept], way[kept]
        first, second, affine = first[kept], second[kept], affine[kept]
    found.correlation[near], found.detail[near] = _fit(first, second, affine)
    colours = thumbnails.colour[index[:, 0]].transpose(0, 3, 1, 2)  # (P, 2, 8, 8): turned like the grey levels
    turned = ways_up(colours)[np.arange(len(near)), :, way]
    found.colour[near] = _colours_differ(turned, thumbnails.colour[index[:, 1]].transpose(0, 3, 1, 2), affine)
    found.turned[near] = way > 0
    found.shear[near] = np.abs(affine[:, [0, 1], [1, 0]]).max(1)
    found.grey[near] = sum(is_grey(thumbnails.colour[index[:, side]]).astype(np.intp) for side in (0, 1))
    return found


def ways_up(images: Array) -> Array:
    """Return images (..., S, S) in all eight ways up, turned and mirrored: (..., 8, S, S)."""
    turned = np.swapaxes(images, -1, -2)
    every = [each[..., ::down, ::right] for each in (images, turned) for down in (1, -1) for right in (1, -1)]
    return np.stack(every, -3)


# -- the rough look --------------------------------------------------------------------------------------


def _roughly(one: Array, other: Array) -> tuple[Array, Array, Array, Array]:
    """Return how well each pair fits at best, at which way up and zoom, and whether ``other`` is the turned one."""
    waves = [[_waves(image, zoom) for zoom in ZOOMS] for image in (one, other)]
    forth, back = _best(waves[0][0], waves[1]), _best(waves[1][0], waves[0])
    swapped = back[0] > forth[0]
    correlation, way, zoom = (np.where(swapped, b, a) for a, b in zip(forth, back, strict=True))
    return correlation, way, zoom, swapped


def _waves(images: Array, zoom: float) -> Array:
    """Return the longest waves (P, 6, 6) of the middle of images: cosine coefficients, all about as strong."""
    cosines = np.cos(np.pi * np.outer(np.arange(WAVES), np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)
    matrix = cosines @ line(SIDE, SIDE, zoom)
    length = np.hypot(*np.indices((WAVES, WAVES))).astype(np.float32)
    found = (matrix @ images @ matrix.T) * np.where(length < WAVES, length, 0)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=(1, 2), keepdims=True), 1e-3), np.float32)


def _best(turned: Array, zoomed: list[Array]) -> tuple[Array, Array, Array]:
    """Return correlation, way up and zoom at which the waves fit best.

    A mirror image changes the signs of every other wave, so that four sums of products make all four ways.
    """
    found = np.empty((len(turned), 2, 4, len(zoomed)), np.float32)
    for transposed, waves in enumerate((turned, turned.transpose(0, 2, 1))):
        for zoom, other in enumerate(zoomed):
            product = (waves * other).reshape(-1, WAVES // 2, 2, WAVES // 2, 2).sum((1, 3)).reshape(-1, 4)
            found[:, transposed, :, zoom] = product @ _SIGNS
    flat = found.reshape(len(turned), 8 * len(zoomed))
    best = flat.argmax(1)
    return flat[np.arange(len(flat)), best], best // len(zoomed), best % len(zoomed)


def _shift(first: Array, second: Array, zoom: Array) -> Array:
    """Return at which of the SHIFTS of the first images the middles of the second ones lie."""
    end = ROUGH - MARGIN
    still = _band(_half(first), 0.5, 2.0)
    middles = np.stack([line(ROUGH, ROUGH, each) for each in ZOOMS])[zoom]
    part = _band(middles @ _half(second) @ middles.transpose(0, 2, 1), 0.5, 2.0)[:, MARGIN:end, MARGIN:end]
    windows = [still[:, MARGIN + down : end + down, MARGIN + right : end + right] for down, right in SHIFTS]
    found = _unit(np.stack(windows, 1)) @ _unit(part)[:, :, None]
    return np.asarray(found[:, :, 0].argmax(1))


def _half(images: Array) -> Array:
    return np.asarray(images.reshape(-1, ROUGH, 2, ROUGH, 2).mean((2, 4)))


def _unit(images: Array) -> Array:
    flat = images.reshape(*images.shape[:-2], images.shape[-1] * images.shape[-2])
    flat = flat - flat.mean(-1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-3))


def _blur(size: int, radius: float) -> Array:
    """Return the matrix that blurs a line of pixels; at the ends what is there counts for more."""
    away = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (away / radius) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _band(images: Array, fine: float, coarse: float) -> Array:
    """Return the details of images between two sizes."""
    low, high = _blur(images.shape[-1], coarse), _blur(images.shape[-1], fine)
    return np.asarray(high @ images @ high.T - low @ images @ low.T)


# -- the exact look --------------------------------------------------------------------------------------


def _affine(zoom: Array, shift: Array) -> Array:
    """Return the maps (P, 3, 3) from places in the turned image to places in the other, both from -1 to 1."""
    scale = np.asarray(ZOOMS, np.float32)[zoom]
    by = np.asarray(SHIFTS, np.float32)[shift] * 2 / ROUGH
    found = np.zeros((len(zoom), 3, 3), np.float32)
    found[:, 0, 0] = found[:, 1, 1] = scale
    found[:, 0, 2], found[:, 1, 2], found[:, 2, 2] = -scale * by[:, 1], -scale * by[:, 0], 1
    return found


def _exactly(
    first: Array, second: Array, affine: Array, steps: int, details: tuple[float, float]
) -> tuple[Array, Array]:
    """Return the maps that make the details of ``second`` lie over those of ``first``, and how well they do."""
    still = _band(first, *details)
    down, right = np.gradient(still, 2 / SIDE, axis=(1, 2))
    gx, gy, still = (each.reshape(len(first), SIDE * SIDE) for each in (right, down, still))
    slopes = np.stack([gx * _X, gx * _Y, gx, gy * _X, gy * _Y, gy], 1)
    correlation = np.zeros(len(first), np.float32)
    for _ in range(steps):
        affine, correlation = _step(still, second, slopes, affine, details)
    return affine, correlation


def _step(
    still: Array, moving: Array, slopes: Array, affine: Array, details: tuple[float, float]
) -> tuple[Array, Array]:
    """Return the maps after one step of least squares, and the correlation before it."""
    seen, inside = _seen(moving, affine)
    seen = _band(seen.reshape(-1, SIDE, SIDE), *details).reshape(len(seen), SIDE * SIDE)
    a, b = _centred(still, inside), _centred(seen, inside)
    both = (a * a).sum(1, keepdims=True) / ((b * b).sum(1, keepdims=True) + 1e-6)
    b *= np.sqrt(both)
    correlation = (a * b).sum(1) / ((a * a).sum(1) + 1e-6)
    slopes = slopes * inside[:, None]
    normal = slopes @ slopes.transpose(0, 2, 1)
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) / 6 + 1e-3
    normal += np.eye(6, dtype=np.float32) * damping[:, None, None]
    step = np.linalg.solve(normal, slopes @ (b - a)[:, :, None])[:, :, 0]
    change = np.zeros_like(affine)
    change[:, :2] = np.clip(step, -LONGEST_STEP, LONGEST_STEP).reshape(-1, 2, 3)
    return np.asarray(affine @ np.linalg.inv(change + np.eye(3, dtype=np.float32)), np.float32), correlation


def _seen(images: Array, affine: Array) -> tuple[Array, Array]:
    """Return the images (P, S, S) seen through the maps, as (P, S * S), and 1 where they are known, else 0."""
    pixels = images.reshape(len(images), SIDE * SIDE)
    x, y = _places(affine, _X, _Y)
    column, row = (np.clip((at + 1) * SIDE / 2 - 0.5, 0, SIDE - 1.001) for at in (x, y))
    left, upper = column.astype(np.intp), row.astype(np.intp)
    right, lower = column - left, row - upper
    corner = upper * SIDE + left
    a, b, c, d = (np.take_along_axis(pixels, corner + step, 1) for step in (0, 1, SIDE, SIDE + 1))
    seen = (a * (1 - right) + b * right) * (1 - lower) + (c * (1 - right) + d * right) * lower
    return seen, ((np.abs(x) < INSIDE) & (np.abs(y) < INSIDE)).astype(np.float32)


def _places(affine: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Return where the maps (P, 3, 3) take the places x and y (K): each (P, K)."""
    return tuple(affine[:, to, :1] * x + affine[:, to, 1:2] * y + affine[:, to, 2:] for to in (0, 1))


def _centred(pixels: Array, inside: Array) -> Array:
    number = np.maximum(inside.sum(1, keepdims=True), 1)
    return np.asarray((pixels - (pixels * inside).sum(1, keepdims=True) / number) * inside)


def _fit(first: Array, second: Array, affine: Array) -> tuple[Array, Array]:
    """Return correlation and number of independent details of what lies over each other; 0 where the map is wild."""
    seen, known = _seen(second, affine)
    inside = known * ((np.abs(_X) < INSIDE) & (np.abs(_Y) < INSIDE))
    a, b = (
        _centred(_equal_contrast(image.reshape(-1, SIDE, SIDE)).reshape(len(image), SIDE * SIDE), inside)
        for image in (first, seen)
    )
    correlation = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1) + 1e-6)
    # the product of two images without relation has this many independent terms (Bartlett), by their spectra
    power, other = (np.abs(np.fft.rfft2(each.reshape(-1, SIDE, SIDE))) ** 2 for each in (a, b))
    detail = power.sum((1, 2)) * other.sum((1, 2)) / ((power * other).sum((1, 2)) + 1e-6)
    tame = np.abs(affine[:, :2, :2] - np.eye(2)).max((1, 2)) <= SHAPE
    return correlation * (tame & (inside.mean(1) >= OVERLAP)), detail


def _equal_contrast(images: Array) -> Array:
    """Return the fine details of images, everywhere of the same contrast but where there is only noise."""
    _, fine, coarse = PASSES[-1]
    found, around = _band(images, fine, coarse), _blur(SIDE, coarse)
    return np.asarray(found / np.sqrt(around @ (found * found) @ around.T + NOISE**2))


def _colours_differ(one: Array, other: Array, affine: Array) -> Array:
    """Return by how many levels the mean colours (P, 2, C, C) differ at the most, at the same saturation."""
    x, y = _places(affine, *_CELLS)
    column, row = (np.clip((at + 1) * CELLS / 2 - 0.5, 0, CELLS - 1.001) for at in (x, y))
    left, upper = column.astype(np.intp), row.astype(np.intp)
    right, lower = (column - left)[:, None], (row - upper)[:, None]
    corner = (upper * CELLS + left)[:, None]
    flat = other.reshape(len(other), 2, CELLS * CELLS).astype(np.float32)
    a, b, c, d = (np.take_along_axis(flat, corner + step, 2) for step in (0, 1, CELLS, CELLS + 1))
    second = _coarse((a * (1 - right) + b * right) * (1 - lower) + (c * (1 - right) + d * right) * lower)
    first = _coarse(one.astype(np.float32))
    more = (first * second).sum((1, 2, 3)) / np.maximum((second * second).sum((1, 2, 3)), 1)
    factor = np.clip(more, 1 / SATURATION, SATURATION)[:, None, None, None]
    # at the saturation of the paler one, whichever it is
    return np.asarray((np.abs(first - second * factor) / np.maximum(1, factor)).max((1, 2, 3)))


def _coarse(colours: Array) -> Array:
    """Return means of four neighbouring cells each."""
    half = CELLS // 2
    return np.asarray(colours.reshape(-1, 2, half, 2, half, 2).mean((3, 5)))
