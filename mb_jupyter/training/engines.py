"""What computes the frozen features: the fastest engine that this machine has for this network.

On a GPU that is torch with autocast. On a processor the ONNX graph in OpenVINO or onnxruntime, or torch itself, in
bfloat16 where the processor multiplies it, whichever a short race shows to be the fastest. The winner is remembered
for this machine, and for the run, so that a resumed run computes with the same one.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import itertools
import json
import platform
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import disk, parallel, processes
from .failures import ran_out
from .graph import FEATURES, INPUT, features_graph, user_cache
from .network import Classifier

Array = np.ndarray[Any, Any]

_TILE = 8  # views per request: larger ones leave the processor's caches
_GPU_BATCH = 256
_RACE_SECONDS = 0.7  # for each engine, after it has warmed up
_HOPELESS = 2.5  # times slower than the best so far: not timed to the end


Through = Callable[[Iterable[Array]], Iterator[Array]]


@dataclass(frozen=True)
class Engine:
    """``through`` maps batches, uint8 (n, size, size, 3), to float32 features (n, D), n at most ``batch``.

    It takes the next batch before it gives the features of the last, so that no core waits while somebody decodes.
    ``name`` ends in the arithmetic it computes in.
    """

    name: str
    batch: int
    through: Through

    def run(self, images: Array) -> Array:
        """Return the features of one batch."""
        (features,) = self.through([images])
        return features


def bf16() -> bool:
    """Return whether this processor multiplies bfloat16 in hardware; without, it is slower than float32."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # no Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _threads() -> int:
    """Return this process's share of the cores."""
    return max(1, parallel.cores() // processes.on_this_machine())


def _openvino(classifier: Classifier, precision: str) -> Engine:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(features_graph(classifier.backbone, classifier.size, keep=True))
    # a fixed shape is planned better than a variable one
    model.reshape({INPUT: [_TILE, classifier.size, classifier.size, 3]})
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[precision],
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": _threads(),
        },
    )
    # two for each stream of its: one computes, one waits
    most = 2 * int(compiled.get_property("NUM_STREAMS"))
    requests = itertools.cycle([compiled.create_infer_request() for _ in range(most)])

    def start(tile: Array) -> Any:
        room = _TILE - len(tile)
        padded = np.concatenate((tile, np.zeros((room, *tile.shape[1:]), np.uint8))) if room else tile
        request = next(requests)
        request.wait()  # of one that nobody read to its end
        request.start_async({INPUT: padded})
        return request

    def finish(request: Any) -> Array:
        request.wait()
        return np.array(request.get_output_tensor(0).data)

    return Engine(f"openvino {precision}", _TILE * most, _flow(start, finish, most))


def _onnxruntime(classifier: Classifier, precision: str) -> Engine:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # a tile for each core: nothing waits for the slower half of a layer
    graph = features_graph(classifier.backbone, classifier.size, keep=True)
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    pool = ThreadPoolExecutor(_threads(), thread_name_prefix="mb-features")

    def start(tile: Array) -> Future[Array]:
        return pool.submit(lambda: np.asarray(session.run([FEATURES], {INPUT: tile})[0]))

    most = 2 * _threads()
    return Engine(f"onnxruntime {precision}", _TILE * most, _flow(start, Future.result, most))


def _flow(start: Callable[[Array], Any], finish: Callable[[Any], Array], most: int) -> Through:
    """Return what computes tile after tile, up to ``most`` at once, from one batch into the next."""

    def through(batches: Iterable[Array]) -> Iterator[Array]:
        flying: deque[tuple[Any, int]] = deque()
        landed: deque[Array] = deque()
        tiles: deque[int] = deque()  # of each batch that came in and has not gone out

        def land() -> None:
            started, count = flying.popleft()
            landed.append(finish(started)[:count])

        for images in batches:
            cut = [images[place : place + _TILE] for place in range(0, len(images), _TILE)]
            tiles.append(len(cut))
            for tile in cut:
                if len(flying) == most:
                    land()
                flying.append((start(tile), len(tile)))
            while tiles and len(landed) >= tiles[0]:
                yield np.concatenate([landed.popleft() for _ in range(tiles.popleft())])
        for count in tiles:
            while len(landed) < count:
                land()
            yield np.concatenate([landed.popleft() for _ in range(count)])

    return through


def _on_gpu(classifier: Classifier) -> Engine:
    """Return torch with the largest batch that fits into the GPU's memory: it depends on network and picture size."""
    precision = "float32"
    if next(classifier.parameters()).device.type == "cuda":
        precision = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    batch = _GPU_BATCH
    while True:
        engine = _torch(classifier, precision, batch)
        try:
            engine.run(np.zeros((batch, classifier.size, classifier.size, 3), np.uint8))
        except RuntimeError as error:
            if batch == 1 or not ran_out(error):
                raise
            batch //= 2
        else:
            return engine


def _torch(classifier: Classifier, precision: str, batch: int = 2 * _TILE) -> Engine:
    device = next(classifier.parameters()).device
    # a copy: the run's own network keeps its layout in memory, whoever wins the race
    network = copy.deepcopy(classifier).eval().to(memory_format=torch.channels_last)
    kind = getattr(torch, precision)

    def run(images: Array) -> Array:
        with torch.inference_mode(), torch.autocast(device.type, kind, enabled=kind is not torch.float32):
            found = network.features(torch.from_numpy(images).to(device))
        return np.asarray(found.float().cpu().numpy())

    return Engine(f"torch {precision}", batch, functools.partial(map, run))


_MAKERS = {"openvino": _openvino, "onnxruntime": _onnxruntime, "torch": _torch}


def fastest(classifier: Classifier, remember: Path, say: Callable[[str], None] = lambda line: None) -> Engine:
    """Return the engine for this network; ``remember`` is the run's own file, which a resumed run reads.

    Where nothing is remembered the engines race on noise, about a second each; ``say`` is told so before.
    """
    if next(classifier.parameters()).device.type != "cpu":
        return _on_gpu(classifier)
    shared = user_cache() / "engines" / f"{_machine(classifier)}.json"
    for file in (remember, shared):
        name = _read(file)
        if name in entrants():
            engine = made(classifier, name)
            if engine is not None:
                _write(remember, name)
                return engine
    say(f"Trying out which engine runs {classifier.backbone.name} the fastest here: once, and remembered.")
    engine = _race(classifier)
    _write(remember, engine.name)
    _write(shared, engine.name)
    return engine


def entrants() -> list[str]:
    """Return the names of all engines, the likely winners first."""
    fast = ["openvino bfloat16", "torch bfloat16"] if bf16() else []
    return [*fast, "openvino float32", "onnxruntime float32", "torch float32"]


def made(classifier: Classifier, name: str) -> Engine | None:
    """Return the engine, made ready; None where it is not installed or cannot compute this network."""
    kind, precision = name.split()
    try:
        engine = _MAKERS[kind](classifier, precision)
        engine.run(np.zeros((1, classifier.size, classifier.size, 3), np.uint8))
    except ImportError:
        return None
    except Exception:
        if kind == "torch":  # in which the network is written: no other will do better
            raise
        return None
    return engine


def _race(classifier: Classifier) -> Engine:
    best: tuple[float, Engine] | None = None
    for name in entrants():
        engine = made(classifier, name)
        if engine is None:
            continue
        seconds = _seconds(engine, classifier.size, best[0] if best else float("inf"))
        if best is None or seconds < best[0]:
            best = (seconds, engine)
    assert best is not None  # torch is always there
    return best[1]


def _seconds(engine: Engine, size: int, record: float) -> float:
    """Return the seconds for a picture, the best of several batches; it gives up where the record is far away."""
    images = np.random.default_rng(0).integers(0, 256, (engine.batch, size, size, 3), np.uint8)
    engine.run(images)
    best, begun = float("inf"), time.perf_counter()
    while time.perf_counter() - begun < _RACE_SECONDS:
        start = time.perf_counter()
        engine.run(images)
        best = min(best, (time.perf_counter() - start) / len(images))
        if best > _HOPELESS * record:
            break
    return best


def _machine(classifier: Classifier) -> str:
    """Return a short hash of what decides the race."""
    versions = [f"{name} {metadata.version(name)}" for name in _MAKERS if _installed(name)]
    facts = [classifier.backbone.name, classifier.size, _processor(), platform.machine(), _threads(), entrants()]
    return hashlib.sha256(json.dumps([*facts, *versions]).encode()).hexdigest()[:24]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), "")


def _read(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["engine"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _write(file: Path, name: str) -> None:
    with contextlib.suppress(OSError):  # a folder that cannot be written costs a race next time, no more
        disk.store(file, json.dumps({"engine": name}).encode())
