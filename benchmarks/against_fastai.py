"""Time to the same held-out accuracy as fastai's `fine_tune`: same weights, same split, same machine, same run.

    pip install -e ".[benchmarks]"
    python benchmarks/against_fastai.py ../shared/data/flowers_small ../shared/data/trashnet ../shared/data/eurosat

fastai gets the training and the validation pictures to learn from and is measured on the held-out ones after every
epoch, which takes no time of its account. mb_jupyter is measured from the start of its process to its end: data,
features, head, evaluation, export and proof included. Both use EfficientNet-Lite0 at 224 x 224. On a machine that has
other work too, --processor-seconds counts those of both programs and their workers instead of what the clock shows.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mb_jupyter
from mb_jupyter import Dataset

PROGRAM = Path(mb_jupyter.__file__).parent
CLOCK: Callable[[], float] = time.perf_counter


def processor_seconds() -> float:
    """Return those of this process and of all that it has started and that has ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def ours(data: Path, output: Path, recipe: str, minutes: float, seed: int) -> tuple[float, float]:
    """Return (seconds, held-out accuracy) of one run of the training program."""
    settings = {"architecture": "efficientnet_lite0", "recipe": recipe, "max_minutes": minutes, "seed": seed}
    settings |= {"cache": str(output / "cache")}  # no features of an earlier run
    (output / "config.json").write_text(json.dumps(settings))
    command = (
        sys.executable, "-m", "training", "--config", str(output / "config.json"),
        "--data", str(data), "--output", str(output),
    )  # fmt: skip
    start = CLOCK()
    with (output / "log.txt").open("wb") as log:
        subprocess.run(command, cwd=PROGRAM, stdout=log, stderr=log, check=True)
    seconds = CLOCK() - start
    return seconds, json.loads((output / "report.json").read_text())["test_accuracy"]


def fastai(data: Path, split: Path, epochs: int, minutes: float, batch_size: int = 32) -> list[tuple[float, float]]:
    """Return (seconds so far, held-out accuracy) after each epoch of `fine_tune(epochs)`, as far as the minutes go."""
    import pandas as pd
    from fastai.vision.all import (
        CategoryBlock,
        ColReader,
        ColSplitter,
        CrossEntropyLossFlat,
        DataBlock,
        ImageBlock,
        Learner,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
        create_head,
        imagenet_stats,
        params,
        set_seed,
    )  # fmt: skip
    from torch import nn

    from mb_jupyter.training.network import choose, load

    set_seed(0, reproducible=True)
    frame = pd.read_csv(split)
    frame["path"] = [str(data / name) for name in frame["ImageSource"]]
    frame["is_valid"] = frame["Split"] == "test"
    backbone = load(choose("efficientnet_lite0", None))
    neck = [layer for layer in backbone.penultimate.modules() if not list(layer.children())]
    body = nn.Sequential(*backbone.parts, *neck[:3])  # convolution, norm, activation: the last feature map
    model = nn.Sequential(body, create_head(1280, frame["Label"].nunique()))
    block = DataBlock(
        (ImageBlock, CategoryBlock), get_x=ColReader("path"), get_y=ColReader("Label"), splitter=ColSplitter(),
        item_tfms=Resize(256), batch_tfms=[*aug_transforms(size=224), Normalize.from_stats(*imagenet_stats)],
    )  # fmt: skip
    loaders = block.dataloaders(frame, bs=batch_size, num_workers=2)
    learner = Learner(
        loaders, model, loss_func=CrossEntropyLossFlat(), metrics=accuracy,
        splitter=lambda m: [params(m[0]), params(m[1])],
    )  # fmt: skip
    trace: list[tuple[float, float]] = []
    learner.add_cb(_trace(trace, 60 * minutes))
    learner.fine_tune(epochs)
    return trace


def _trace(trace: list[tuple[float, float]], most: float) -> Any:
    from fastai.vision.all import Callback, CancelFitException

    class Trace(Callback):
        """Keep the clock of the training alone and the accuracy after each epoch; begin none when time is up."""

        order, seconds = 65, 0.0  # after the recorder

        def before_epoch(self) -> None:
            if self.seconds > most:
                raise CancelFitException

        def before_train(self) -> None:
            self.start = CLOCK()

        def after_train(self) -> None:
            self.seconds += CLOCK() - self.start

        def after_epoch(self) -> None:
            trace.append((self.seconds, float(self.recorder.values[-1][-1])))
            print(f"  fastai epoch {len(trace)}: {self.seconds:.0f} s, {trace[-1][1]:.4f}", flush=True)

    return Trace()


def compare(data: Path, args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        shared, dataset = Path(folder), Dataset(data)
        runs = {}
        for recipe in args.recipes:
            output = shared / recipe
            output.mkdir()
            dataset.write_split(output / "split.csv", seed=args.seed, validation_fraction=0.15, test_fraction=0.2)
            runs[recipe] = ours(data, output, recipe, args.minutes, args.seed)
            print(f"  {recipe}: {runs[recipe][0]:.0f} s, {runs[recipe][1]:.4f}", flush=True)
        split = shared / args.recipes[0] / "split.csv"
        peer = fastai(data, split, args.epochs, args.peer_minutes)
        with split.open(newline="") as file:
            held_out = sum(row["Split"] == "test" for row in csv.DictReader(file))
    return {"set": data.name, "held out": held_out, "ours": runs, "peer": peer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--epochs", type=int, default=5, help="of fine_tune, after its one frozen epoch")
    parser.add_argument("--minutes", type=float, default=10, help="that mb_jupyter may take when fine-tuning")
    parser.add_argument("--peer-minutes", type=float, default=60, help="of training after which fastai begins no epoch")
    parser.add_argument("--recipes", nargs="+", default=["features", "auto"], help="of mb_jupyter, the quick one first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processor-seconds", action="store_true", help="in place of the clock's")
    args = parser.parse_args()
    if args.processor_seconds:
        global CLOCK  # noqa: PLW0603 - one for the whole run
        CLOCK = processor_seconds
    rows = []
    for data in args.data:
        print(data.name, flush=True)
        rows.append(compare(data.resolve(), args))
    head = ("set", "held out", *args.recipes, f"fastai fine_tune({args.epochs}), its best", "time, ours / fastai's")
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        best = max(accuracy for _, accuracy in row["peer"])
        when = next(seconds for seconds, accuracy in row["peer"] if accuracy == best)
        reached = next((name for name, (_, accuracy) in row["ours"].items() if accuracy >= best), None)
        ratio = f"{row['ours'][reached][0] / when:.2f} ({reached})" if reached else "not reached"
        cells = [f"{accuracy:.3f} in {seconds:.0f} s" for seconds, accuracy in (*row["ours"].values(), (when, best))]
        print(f"| {row['set']} | {row['held out']} | {' | '.join(cells)} | {ratio} |")


if __name__ == "__main__":
    main()
