"""What a reader needs to make the run again, or to doubt it: ``reproducibility.json`` and ``report.json``."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from typing import Any

import torch

from . import parallel, processes
from .disk import replace
from .network import Choice
from .parts import Parts
from .session import Session

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "Pillow", "onnx", "onnxruntime", "onnxscript", "openvino")


def reproducibility(session: Session, choice: Choice, parts: Parts, engine: str) -> dict[str, Any]:
    """Return seed, versions, hardware, settings, weights, data and what is exact and what is not."""
    settings = session.settings
    asked = {name: value for name, value in settings.as_dict().items() if name not in ("cache", "weights", "labels")}
    return {
        "seed": settings.seed,
        "settings": asked,
        "architecture": choice.name,
        "weights_sha256": choice.sha256,
        "fingerprint": settings.fingerprint,
        "counts": parts.counts,
        "classes": list(parts.classes),
        "engine": engine,
        "fine_tuning": session.state.get("finetune", {}).get("plan"),
        "versions": versions(),
        "hardware": hardware(session.device),
        "notes": [
            "The split, the order of the images and their augmentation follow from the seed alone.",
            "On a processor the same versions, hardware and number of threads give the same bits; "
            "a GPU, another number of processes or other hardware differ by rounding.",
            "With a limit of minutes, how many epochs and blocks are trained depends on the machine's speed; "
            "fine_tuning in reproducibility.json says what it came to.",
        ],
    }


def write(session: Session, name: str, content: dict[str, Any]) -> None:
    """Write a JSON file into the run's folder, aside first."""
    if processes.rank() == 0:
        replace(session.output / name, json.dumps(content, ensure_ascii=False, indent=2))


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that touches a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: torch.device) -> dict[str, Any]:
    """Return what computed."""
    found: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": parallel.cores(),
        "threads": torch.get_num_threads(),
        "threads_asked": os.environ.get("OMP_NUM_THREADS"),
        "processes": processes.world(),
        "gpus": [],
    }
    if device.type == "cuda":
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if device.type == "mps":
        found["gpus"] = ["Apple GPU (mps)"]
    return found


def processor() -> str:
    """Return the processor's name, as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
