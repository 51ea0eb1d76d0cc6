"""What computes the frozen features: the fastest engine that this machine has for this network.

On a GPU that is torch with autocast. On a processor the ONNX graph in onnxruntime or OpenVINO, or torch itself,
whichever a short race shows to be the fastest; the winner is remembered for this machine, and for the run, so that
a resumed run computes with the same one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import parallel
from .graph import FEATURES, INPUT, features_graph, user_cache, write_aside
from .network import Classifier

Array = np.ndarray[Any, Any]
Engine = Callable[[Array], Array]  # uint8 (n, size, size, 3) to float32 (n, D), n at most BATCH

BATCH = 16
_RACE_SECONDS = 1.0  # for each engine, after it has warmed up


def bf16() -> bool:
    """Return whether this processor multiplies bfloat16 in hardware; without, it is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def openvino(classifier: Classifier) -> Engine:
    """Return OpenVINO, which computes in bfloat16 where the processor has it."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(features_graph(classifier.backbone, classifier.size, keep=True))
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": parallel.cores()})
    request = compiled.create_infer_request()

    def run(images: Array) -> Array:
        return np.array(request.infer([images])[0])

    return run


def onnxruntime(classifier: Classifier) -> Engine:
    """Return onnxruntime, which computes in float32."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = parallel.cores()
    graph = features_graph(classifier.backbone, classifier.size, keep=True)
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run([FEATURES], {INPUT: images})[0])


def eager(classifier: Classifier) -> Engine:
    """Return torch itself: autocast to bfloat16 where that is fast, channels last in memory."""
    device = next(classifier.parameters()).device
    fast = device.type == "cuda" or bf16()
    classifier = classifier.eval().to(memory_format=torch.channels_last)

    def run(images: Array) -> Array:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=fast):
            found = classifier.features(torch.from_numpy(images).to(device))
        return np.asarray(found.float().cpu().numpy())

    return run


ENGINES: dict[str, Callable[[Classifier], Engine]] = {
    "openvino": openvino,
    "onnxruntime": onnxruntime,
    "torch": eager,
}


def fastest(classifier: Classifier, remember: Path) -> tuple[str, Engine]:
    """Return the name and the engine; ``remember`` is the run's own file, which a resumed run reads.

    Where nothing is remembered the engines race on noise, about a second each.
    """
    if next(classifier.parameters()).device.type == "cuda":
        return "torch", eager(classifier)
    shared = user_cache() / "engines" / f"{_machine(classifier)}.json"
    for file in (remember, shared):
        name = _read(file)
        if name in ENGINES:
            try:
                engine = ENGINES[name](classifier)
            except ImportError:
                continue
            _write(remember, name)
            return name, engine
    name, engine = _race(classifier)
    _write(remember, name)
    _write(shared, name)
    return name, engine


def _race(classifier: Classifier) -> tuple[str, Engine]:
    images = np.random.default_rng(0).integers(0, 256, (BATCH, classifier.size, classifier.size, 3), np.uint8)
    best: tuple[float, str, Engine] | None = None
    for name, make in ENGINES.items():
        try:
            engine = make(classifier)
        except ImportError:  # not installed here
            continue
        engine(images)
        rounds, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < _RACE_SECONDS:
            engine(images)
            rounds += 1
        pace = rounds / (time.perf_counter() - begun)
        if best is None or pace > best[0]:
            best = (pace, name, engine)
    assert best is not None  # torch is always there
    return best[1], best[2]


def _machine(classifier: Classifier) -> str:
    """Return a short hash of what decides the race."""
    versions = [f"{name} {metadata.version(name)}" for name in ENGINES if _installed(name)]
    facts = [classifier.backbone.name, classifier.size, platform.processor(), platform.machine(), bf16(), parallel.cores()]
    return hashlib.sha256(json.dumps([*facts, *versions, _model_name()]).encode()).hexdigest()[:24]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _model_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("model name")), "")


def _read(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["engine"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _write(file: Path, name: str) -> None:
    try:
        write_aside(file, json.dumps({"engine": name}).encode())
    except OSError:
        if os.access(file.parent, os.W_OK):  # a cache that nobody may write costs a race, no more
            raise
