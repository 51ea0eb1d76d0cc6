"""Prediction: a folder against a plain loop, the first answer in a fresh process, memory over 20,000 pictures.

    python benchmarks/predict.py ../shared/data/trashnet [--model MLModel.zip] [--pictures 20000]

The plain loop is what one writes first: onnxruntime as it comes, Pillow, one picture after the other. It opens
and resizes each picture as the model wants it, so both give the same answers but for scaled JPEG decoding. The
rows are for the photos of the folder as they are and for the same enlarged to 12 megapixels, as a phone takes them.
Without --model it is EfficientNet-Lite0 with all its depths as features, and a head of random numbers. Beside a run's
bestModel.onnx lies bestModel-int8.onnx: a third row is for that, against the same loop.

"network alone" is the network on all cores without a picture to decode, and "at most" what it could reach if every
operation of it ran at the rate of this processor's own matrix product in float32.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import psutil
from PIL import Image

import mb_jupyter

ROUNDS = 3
MEGAPIXELS_12 = (4000, 3000)

_MAKE = """
import json, sys, torch
from onnx import helper, save
from mb_jupyter.training import graph, network
from mb_jupyter.training.described import described
backbone = network.load(network.choose("efficientnet_lite0", None))
torch.manual_seed(0)
weight = torch.randn(10, backbone.feature_size) * 0.01
model = graph.with_head(graph.features_graph(backbone, 224), weight, torch.zeros(10), 1.0)
said = {"mb_format": "1", "classes": json.dumps([f"class {i}" for i in range(10)]),
        "preprocess": json.dumps(described(224)), "architecture": "efficientnet_lite0"}
helper.set_model_props(model, said)
save(model, sys.argv[1])
"""

_FIRST = """
import sys, time, psutil
import mb_jupyter
mb_jupyter.load(sys.argv[1]).predict(sys.argv[2])._repr_mimebundle_()
print(time.time() - psutil.Process().create_time())
"""


def plain_loop(model: Path, size: int, paths: Sequence[Path]) -> list[np.ndarray]:
    """Return the answers of the loop that one writes first."""
    session = onnxruntime.InferenceSession(model)
    answers = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        square = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        answers.append(session.run(None, {"images": np.asarray(square)[None]})[0][0])
    return answers


def ours(model: Path, paths: Sequence[Path]) -> list[np.ndarray]:
    """Return the answers of a freshly loaded model."""
    loaded = mb_jupyter.load(model)
    answers = loaded.predict(list(paths))
    assert isinstance(answers, mb_jupyter.model.Predictions)
    return [np.array([one.Score[name] for name in loaded.classes]) for one in answers]


def network_alone(model: Path, size: int, number: int) -> None:
    """Run the network on noise, on all cores: nothing that scores every picture can be faster."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    noise = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda _: session.run(None, {"images": noise}), range(number)))


def operations(model: Path) -> float:
    """Return the additions and multiplications that the network's convolutions take for one picture."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    sizes = {value.name: [one.dim_value for one in value.type.tensor_type.shape.dim] for value in graph.value_info}
    weights = {value.name: value.dims for value in graph.initializer}
    found = [
        math.prod(sizes[node.output[0]][1:]) * math.prod(weights[node.input[1]][1:])
        for node in graph.node
        if node.op_type == "Conv"
    ]
    return 2.0 * sum(found)


def matrix_product(side: int = 2048) -> float:
    """Return the operations a second of a product of matrices in float32, on all cores, the best of several."""
    left, right = np.random.default_rng(0).standard_normal((2, side, side), np.float32)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - start)
    return 2.0 * side**3 / min(seconds)


def rate(action: Callable[[], object], number: int) -> float:
    """Return pictures per second."""
    start = time.perf_counter()
    action()
    return number / (time.perf_counter() - start)


def compare(name: str, model: Path, size: int, paths: Sequence[Path], variant: Path | None = None) -> None:
    asked = variant or model
    rates: dict[str, list[float]] = {"plain": [], "ours": [], "alone": []}
    for _ in range(ROUNDS):  # taking turns, so that a busy machine is busy for all
        rates["plain"].append(rate(lambda: plain_loop(model, size, paths), len(paths)))
        rates["ours"].append(rate(lambda: ours(asked, paths), len(paths)))
        rates["alone"].append(rate(lambda: network_alone(asked, size, len(paths)), len(paths)))
    middle = {key: statistics.median(values) for key, values in rates.items()}
    ratio = statistics.median(o / p for o, p in zip(rates["ours"], rates["plain"], strict=True))
    some = paths[:: max(1, len(paths) // 100)]
    pairs = zip(plain_loop(model, size, some), ours(asked, some), strict=True)
    same = sum(int(a.argmax() == b.argmax()) for a, b in pairs)
    print(
        f"{name:34} {middle['plain']:9.1f} {middle['ours']:9.1f} {ratio:7.2f} {middle['alone']:14.1f} "
        f"{same:>8} of {len(some)}"
    )


def enlarge(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Write each picture as a JPEG of 12 megapixels."""
    made = []
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            large = image.convert("RGB").resize(MEGAPIXELS_12, Image.Resampling.BICUBIC)
        large.save(folder / f"{i}.jpg", quality=90)
        made.append(folder / f"{i}.jpg")
    return made


def first_answer(model: Path, path: Path, folder: Path) -> None:
    command = (sys.executable, "-c", _FIRST, str(model), str(path))
    # the bytecode is there, as an installation leaves it: the first run compiles it and does not count
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    done = [subprocess.run(command, capture_output=True, text=True, check=True, env=environment) for _ in range(6)]
    runs = [float(run.stdout) for run in done[1:]]
    print(f"first prediction in a fresh process: median {statistics.median(runs):.2f} s of {len(runs)}")


def memory(model: Path, paths: Sequence[Path], pictures: int, folder: Path) -> None:
    process, loaded = psutil.Process(), mb_jupyter.load(model)
    marks = {number for number in (1000, 5000, 10_000, 20_000, pictures) if number <= pictures}
    start = time.perf_counter()

    def look(done: int, total: int | None) -> None:
        if done in marks:
            speed = done / (time.perf_counter() - start)
            print(f"after {done:6,} pictures: {process.memory_info().rss / 2**20:6.0f} MiB, {speed:5.0f} a second")

    loaded.predict_to(folder / "answers.csv", itertools.islice(itertools.cycle(paths), pictures), progress=look)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, help="a bestModel.onnx")
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    paths = sorted(path for path in given.data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    some = paths[:: max(1, len(paths) // 300)]
    with tempfile.TemporaryDirectory() as temporary:
        folder, model = Path(temporary), given.model
        if given.memory_only:
            memory(model, paths, given.pictures, folder)
            return
        if model is None:
            model = folder / "bestModel.onnx"
            subprocess.run((sys.executable, "-c", _MAKE, str(model)), check=True, capture_output=True)
        size = mb_jupyter.load(model).size
        print(
            json.dumps(
                {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "model": model.stat().st_size}
            )
        )
        print(
            f"{'pictures per second':34} {'plain':>9} {'ours':>9} {'ratio':>7} {'network alone':>14} {'same class':>14}"
        )
        needed, most = operations(model), matrix_product()
        print(
            f"the network takes {needed / 1e9:.2f} GFLOP a picture, a matrix product runs at {most / 1e9:.0f} GFLOP/s: "
            f"at most {most / needed:.0f} pictures a second"
        )
        compare(f"{len(some)} photos as they are", model, size, some)
        if (int8 := model.with_name("bestModel-int8.onnx")).is_file():
            compare(f"{len(some)} photos, ours in int8", model, size, some, int8)
        large = enlarge(some[:: max(1, len(some) // 24)][:24], folder)
        compare(f"{len(large)} photos of 12 megapixels", model, size, large)
        first_answer(model, paths[0], folder)
        command = (sys.executable, __file__, str(given.data), "--model", str(model), "--memory-only")
        subprocess.run((*command, "--pictures", str(given.pictures)), check=True)


if __name__ == "__main__":
    main()
