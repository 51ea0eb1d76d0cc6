"""What is in a model file: read in memory, checked, and never unpacked onto the disk.

A model comes from other people, so every byte is suspect until it has been looked at. Refused are zips with
anything but the four members of ours, links, encryption, bombs, and ONNX files that point to other files.
What is not promised: that a network which passes is a good one, or a small one to run.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ModelError
from .training.described import CURRENT, Preparation, preparation

ONNX, MAP, PREPROCESS, CARD = "bestModel.onnx", "bestModelMap.json", "preprocess.json", "card.json"
MEMBERS = (ONNX, MAP, PREPROCESS, CARD)
FORMAT = "1"
MOST_MODEL_BYTES = 2**31 - 1  # more than that is no protobuf message
MOST_JSON_BYTES = 16 * 1024**2
MOST_DIRECTORY_BYTES = 64 * 1024  # of the zip's list of members: ours needs 300
MOST_REASONS = 3  # told in one error
HIGHEST_RATIO = 100  # weights hardly shrink; a bomb shrinks a thousandfold
LARGEST_SIZE = 4096  # pixels a side that a network may ask for
AGAIN = "Fetch the model again from where it comes, or export it again from its run."


@dataclass(frozen=True)
class Contents:
    """A checked model: ``onnx`` is the file's bytes, the rest is what its metadata and its card say."""

    path: Path
    onnx: bytes
    classes: tuple[str, ...]
    size: int
    card: dict[str, Any]
    unsure_below: float | None = None
    prepared: Preparation = CURRENT


def read(path: Path) -> Contents:
    """Return the contents of an ``MLModel.zip``, a run's folder or a ``bestModel.onnx``, or ``ModelError``."""
    if path.is_dir():
        path = _in_folder(path)
    if not path.is_file():
        raise ModelError(
            f"There is no model at {path}.", "Pass the path of an MLModel.zip, a run's folder or a bestModel.onnx."
        )
    try:
        with path.open("rb") as file:
            _check_bytes(path, file, MOST_MODEL_BYTES)
            if file.read(4).startswith(b"PK"):
                return _check(path, _members(path, file))
            file.seek(0)
            onnx = file.read()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error
    beside = path.with_name(MAP)
    files = {ONNX: onnx}
    if beside.is_file() and path.name == ONNX:
        with beside.open("rb") as file:
            _check_bytes(beside, file, MOST_JSON_BYTES)
            files[MAP] = file.read()
    return _check(path, files)


def _in_folder(folder: Path) -> Path:
    found = next((folder / name for name in (ONNX, "MLModel.zip") if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(
            f"The folder {folder} holds no model: neither {ONNX} nor MLModel.zip is in it.",
            "Pass the folder of a run that has come as far as its first model.",
        )
    return found


def _check_bytes(path: Path, file: BinaryIO, most: int) -> None:
    """Refuse a file by its size, before any of it is read."""
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise ModelError(f"{path} has {size:,} bytes, more than any such file of a model ({most:,}).", AGAIN)


# -- the zip ---------------------------------------------------------------------------------------------


def _members(path: Path, file: BinaryIO) -> dict[str, bytes]:
    _check_directory(path, file)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            problem = _problem(infos)
            if problem:
                raise ModelError(f"{path} is refused: {problem}.", AGAIN)
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, ValueError) as error:
        reason = str(error) or "a file in it ends before its size"
        raise ModelError(f"{path} is a damaged zip file: {reason}.", AGAIN) from error


def _check_directory(path: Path, file: BinaryIO) -> None:
    # zipfile makes an object of every entry before it can be asked for any: a million of them fill the memory
    file.seek(0, 2)
    file.seek(max(0, file.tell() - 65_557))  # the end record and the longest comment
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise ModelError(f"{path} is a damaged zip file: its end is missing.", AGAIN)
    (size,) = struct.unpack("<L", tail[at + 12 : at + 16])
    if size > MOST_DIRECTORY_BYTES or tail.rfind(b"PK\6\7") >= 0:
        raise ModelError(f"{path} is refused: it lists far more files than the {len(MEMBERS)} of a model.", AGAIN)


def _problem(infos: list[zipfile.ZipInfo]) -> str:
    names = [info.filename for info in infos]
    if len(names) != len(set(names)):
        return "it holds two files of one name"
    strange = [name for name in names if name not in MEMBERS]
    if strange:
        return f"it holds {strange[0]!r}, and only {', '.join(MEMBERS)} belong into it"
    missing = [name for name in MEMBERS if name not in names]
    if missing:
        return f"{', '.join(missing)} is missing from it"
    return next(filter(None, map(_problem_of, infos)), "")


def _problem_of(info: zipfile.ZipInfo) -> str:
    most = MOST_MODEL_BYTES if info.filename == ONNX else MOST_JSON_BYTES
    mode = info.external_attr >> 16
    if info.flag_bits & 0x1:
        return f"{info.filename} in it is encrypted"
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return f"{info.filename} in it is a link or another special file"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"{info.filename} in it is packed in an unusual way"
    if info.file_size > most:
        return f"{info.filename} in it would be {info.file_size:,} bytes, more than any of ours"
    if info.file_size > HIGHEST_RATIO * max(info.compress_size, 1):
        return f"{info.filename} in it would unpack to {info.file_size:,} bytes from {info.compress_size:,}"
    return ""


# -- the network and its facts ---------------------------------------------------------------------------


def _check(path: Path, files: dict[str, bytes]) -> Contents:
    model = _parse(path, files[ONNX])
    if any(_uses_other_files(message) for message in _messages(model)):
        raise ModelError(f"{path} is refused: its network asks for other files (external data).", AGAIN)
    said = {entry.key: entry.value for entry in model.metadata_props}
    if "mb_format" not in said:
        raise ModelError(
            f"{path} is a network that Model Builder did not make: it carries no class names and no preprocessing.",
            "Load a model that %%mb_train has written.",
            "Use onnxruntime itself for other networks.",
        )
    if said["mb_format"] != FORMAT:
        raise ModelError(
            f"{path} has the format {said['mb_format']!r}; this version reads {FORMAT!r}.",
            "Upgrade with: pip install --upgrade mb_jupyter",
        )
    facts = {key: _json(path, f"{key} in its metadata", said.get(key, "")) for key in ("classes", "preprocess")}
    classes = _classes(path, facts["classes"])
    size = _size(path, model.graph, len(classes))
    prepared = _prepared(path, facts["preprocess"], size)
    _check_beside(path, files, facts)
    facts["unsure_below"] = threshold = _threshold(path, said.get("unsure_below"))
    return Contents(path, files[ONNX], classes, size, _card(path, files, said, facts), threshold, prepared)


def _parse(path: Path, data: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError(f"{path} holds no readable ONNX network: it is damaged or something else.", AGAIN) from error
    if not model.graph.node:
        raise ModelError(f"{path} holds no ONNX network: it is empty or something else.", AGAIN)
    return model


def _messages(message: Any) -> Iterator[Any]:
    """Yield the message and all below it: tensors hide in subgraphs, attributes and functions too."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if hasattr(value, "__len__") else (value,):
                yield from _messages(part)


def _uses_other_files(message: Any) -> bool:
    if message.DESCRIPTOR.name != "TensorProto":
        return False
    return bool(message.external_data) or message.data_location == message.EXTERNAL


def _json(path: Path, what: str, text: str | bytes) -> Any:
    try:
        found = json.loads(text, parse_constant=lambda _: None)  # NaN and infinities are no JSON
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ModelError(f"{path} is damaged: {what} holds text that is not valid Unicode.", AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {what} is not JSON.", AGAIN) from error
    return found


def _classes(path: Path, classes: Any) -> tuple[str, ...]:
    fine = isinstance(classes, list) and len(classes) > 1 and all(isinstance(name, str) for name in classes)
    if not fine or len(set(classes)) != len(classes):
        raise ModelError(f"{path} is damaged: its class names are not a list of different texts.", AGAIN)
    return tuple(classes)


def _size(path: Path, graph: Any, classes: int) -> int:
    """Return the side in pixels, if the graph takes ``images`` and gives ``probabilities`` as ours do."""

    def shape(value: Any) -> list[int]:
        return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]

    ends = [(value.name, value.type.tensor_type.elem_type) for value in (*graph.input, *graph.output)]
    if ends == [("images", 2), ("probabilities", 1)]:  # uint8 and float32 in TensorProto.DataType
        taken, given = shape(graph.input[0]), shape(graph.output[0])
        size = taken[1] if len(taken) == 4 else 0
        if 0 < size <= LARGEST_SIZE and taken[1:] == [size, size, 3] and given[1:] == [classes]:
            return size
    raise ModelError(
        f"{path} is damaged: its network does not take uint8 pictures and give {classes} probabilities.", AGAIN
    )


def _threshold(path: Path, said: str | None) -> float | None:
    """Return the score below which the model says that it is unsure; None for one that always decides."""
    if said is None:
        return None
    threshold = _json(path, "unsure_below in its metadata", said)
    if isinstance(threshold, float) and 0 < threshold < 1:
        return threshold
    raise ModelError(f"{path} is damaged: unsure_below in its metadata is no score between 0 and 1.", AGAIN)


def _prepared(path: Path, described: Any, size: int) -> Preparation:
    """Return how the model wants its images prepared."""
    found = preparation(described)
    if found is None or described.get("size") != size:
        raise ModelError(
            f"{path} wants its images prepared in a way that this version does not know, so its answers would differ.",
            "Upgrade with: pip install --upgrade mb_jupyter",
            "Train the model again with this version.",
        )
    return found


def _check_beside(path: Path, files: dict[str, bytes], facts: dict[str, Any]) -> None:
    for name, key in ((MAP, "classes"), (PREPROCESS, "preprocess")):
        if name in files and _json(path, name, files[name]) != facts[key]:
            raise ModelError(f"{path} contradicts itself: {name} is not what the network's metadata says.", AGAIN)


def _card(path: Path, files: dict[str, bytes], said: dict[str, str], facts: dict[str, Any]) -> dict[str, Any]:
    card = _json(path, CARD, files[CARD]) if CARD in files else {}
    if not isinstance(card, dict):
        raise ModelError(f"{path} is damaged: {CARD} is not an object of names and values.", AGAIN)
    # where both say something, the network's own metadata counts: it cannot be parted from its weights
    known: dict[str, Any] = {
        key: _json(path, f"{key} in its metadata", said[key]) for key in ("metrics", "versions") if key in said
    }
    plain: dict[str, Any] = {key: said[key] for key in ("fingerprint", "architecture", "run", "tests") if key in said}
    return _fitting(path, {**card, **facts, **known, **plain})


def _fitting(path: Path, card: dict[str, Any]) -> dict[str, Any]:
    """Return what a model says of itself, or say which of it nobody could use."""
    from pydantic import ValidationError

    from .recordshapes import CardShape

    try:
        CardShape.model_validate(card)
    except ValidationError as error:
        wrong = "; ".join(f"`{'.'.join(map(str, one['loc']))}`: {one['msg']}" for one in error.errors()[:MOST_REASONS])
        raise ModelError(f"{path} is damaged: what it says of itself does not fit ({wrong}).", AGAIN) from None
    return card
