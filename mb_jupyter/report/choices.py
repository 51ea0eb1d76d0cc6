"""Why int8 or float32 is recommended, in words: chosen on validation images, told of the test images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mb_jupyter.display import counted

from .files import is_figure

Record = Mapping[str, Any]  # of a run's report.json


def variant(record: Record) -> str:
    """Say why int8 or float32 is recommended; what an old run wrote as a sentence is given as it is."""
    choice = record.get("variant_choice")
    if not isinstance(choice, dict):
        return str(record.get("recommendation") or "")
    if choice.get("code") == "only":
        return "It is the only one."
    sentences = [_verdict(choice), _speed(choice), _loss(choice), _tested(record)]
    return " ".join(sentence for sentence in sentences if sentence)


def _verdict(choice: dict[str, Any]) -> str:
    allowed = f"{100 * float(choice.get('allowed_fall') or 0):g} points"
    needed = f"{float(choice.get('needed_speed') or 0):g}"
    images = counted(int(choice.get("images") or 0), "validation image")
    return {
        "int8": f"int8 is faster, and the scores of the true class fall by at most {allowed}.",
        "too_few": f"{images} cannot show what int8 loses.",
        "loses": f"With int8 the scores of the true class may fall by more than {allowed}.",
        "not_faster": f"int8 is not shown to be at least {needed} times as fast.",
    }.get(str(choice.get("code")), "")


def _speed(choice: dict[str, Any]) -> str:
    speed, low, high = (choice.get(name) for name in ("speed", "speed_low", "speed_high"))
    if not (is_figure(speed) and is_figure(low) and is_figure(high)):
        return ""
    noise = "; the difference is within the noise" if low <= 1 <= high else ""
    return (
        f"int8 is {speed:.2f} times as fast as float32 (95 % interval {low:.2f} to {high:.2f}, both timed in turns, "
        f"{choice.get('turns')} times{noise})."
    )


def _loss(choice: dict[str, Any]) -> str:
    fall, low, high = (choice.get(name) for name in ("fall", "fall_low", "fall_high"))
    if not (is_figure(fall) and is_figure(low) and is_figure(high)):
        return ""
    images = counted(int(choice.get("images") or 0), "validation image")
    word = "falls" if fall >= 0 else "rises"
    return (
        f"On {images} that the head was not fitted on, the score of the true class {word} by {100 * abs(fall):.2f} "
        f"points on average with int8 (95 % interval of the fall {100 * low:.2f} to {100 * high:.2f})."
    )


def _tested(record: Record) -> str:
    variants = [one for one in record.get("variants") or [] if isinstance(one, dict)]
    small = next((one for one in variants if one.get("name") == "int8"), {})
    lost, gained, number = (small.get(name) for name in ("lost", "gained", "pictures"))
    if not (is_figure(lost) and is_figure(gained) and is_figure(number) and number):
        return ""
    return (
        f"Of {counted(int(number), 'test image')}, which were not used for this choice, int8 answers {lost:,} wrongly "
        f"that float32 answers rightly, and {gained:,} the other way round."
    )
