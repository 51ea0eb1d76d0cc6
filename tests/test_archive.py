from __future__ import annotations

import io
import json
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import mb_jupyter
from mb_jupyter.errors import ModelError
from tests.tiny_model import COLOURS, members, metadata, network, write_zip


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        mb_jupyter.load(path)
    assert caught.value.cause and caught.value.fix
    assert str(path) in caught.value.cause
    return caught.value


def with_network(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_a_zip_a_folder_and_a_bare_network_are_the_same_model(tmp_path: Path) -> None:
    files = members()
    write_zip(tmp_path / "MLModel.zip", files)
    for name in ("bestModel.onnx", "bestModelMap.json"):
        (tmp_path / name).write_bytes(files[name])
    loaded = [mb_jupyter.load(tmp_path / name) for name in ("MLModel.zip", "", "bestModel.onnx")]
    for model in loaded:
        assert model.classes == COLOURS
        assert model.size == 32
        assert model.fingerprint == "f00d"
        assert model.metrics == {"test_accuracy": 0.889, "test_loss": 0.3}
        assert model.card["architecture"] == "tiny"
    assert loaded[0].card["note"] == "tiny"


def test_nothing_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "MLModel.zip")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setenv("TMPDIR", str(empty))
    mb_jupyter.load(path)
    assert list(empty.iterdir()) == []
    assert [entry.name for entry in tmp_path.iterdir() if entry != empty] == ["MLModel.zip"]


def test_a_zip_that_was_packed_again_still_loads(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members().items():
            archive.writestr(name, data)
    assert mb_jupyter.load(tmp_path / "m.zip").classes == COLOURS


@pytest.mark.parametrize(
    "name", ["../evil.py", "/etc/passwd", "C:\\evil", "sub/bestModel.onnx", "readme.txt", "folder/", "ключ"]
)
def test_a_foreign_member_is_refused(tmp_path: Path, name: str) -> None:
    assert "belong" in refusal(write_zip(tmp_path / "m.zip", {**members(), name: b"x"})).cause


@pytest.mark.parametrize("name", list(members()))
def test_a_missing_member_is_refused(tmp_path: Path, name: str) -> None:
    files = members()
    del files[name]
    assert name in refusal(write_zip(tmp_path / "m.zip", files)).cause


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("card.json", "{}")
    refusal(path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    files = members()
    del files["card.json"]
    path = write_zip(tmp_path / "m.zip", files)
    link = zipfile.ZipInfo("card.json")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "link" in refusal(path).cause


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.zip")
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\1\2")
    data[at + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refusal(path).cause


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    files = {**members(), "card.json": b"{" + b" " * 10_000_000 + b"}"}
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert "unpack" in refusal(tmp_path / "m.zip").cause


def test_a_member_that_is_larger_than_it_declares_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members(), "card.json": b"{" + b" " * 9_000_000 + b"}"}.items():
            archive.writestr(name, content)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2")  # the last entry is card.json
    struct.pack_into("<L", data, at + 24, 100)
    path.write_bytes(data)
    assert "damaged" in refusal(path).cause


def test_a_member_too_large_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.zip")
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2")
    struct.pack_into("<LL", data, at + 20, 2**31, 2**31)
    path.write_bytes(data)
    refusal(path)


def test_a_zip_of_countless_entries_is_refused_before_it_is_listed(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(2000):
            archive.writestr(f"a-name-that-is-long-enough-to-matter-{i}", b"")
    (tmp_path / "m.zip").write_bytes(buffer.getvalue())
    assert "far more files" in refusal(tmp_path / "m.zip").cause


def test_a_cut_off_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.zip")
    data = path.read_bytes()
    for keep in (10, len(data) // 2, len(data) - 5):
        path.write_bytes(data[:keep])
        refusal(path)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.zip")
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF  # within the stored network
    path.write_bytes(data)
    assert "damaged" in refusal(path).cause


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bestModelMap.json", b'["red", "blue", "green"]'),
        ("bestModelMap.json", b"not json"),
        ("preprocess.json", b"{}"),
        ("card.json", b"[]"),
        ("card.json", b"[" * 100_000),
    ],
)
def test_a_contradiction_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    assert name in refusal(write_zip(tmp_path / "m.zip", {**members(), name: content})).cause


def test_a_map_beside_the_network_that_disagrees_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bestModel.onnx").write_bytes(members()["bestModel.onnx"])
    (tmp_path / "bestModelMap.json").write_text('["blue", "green", "red"]')
    with pytest.raises(ModelError, match="contradicts"):
        mb_jupyter.load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x00" * 50, b"hello, this is text", b"\x08\x0a" + b"\xff" * 30])
def test_what_is_no_network_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bestModel.onnx").write_bytes(data)
    refusal(tmp_path / "bestModel.onnx")


def test_a_network_cut_short_is_refused(tmp_path: Path) -> None:
    data = members()["bestModel.onnx"]
    (tmp_path / "m.onnx").write_bytes(data[: len(data) * 2 // 3])
    refusal(tmp_path / "m.onnx")


def test_the_network_of_someone_else_is_refused(tmp_path: Path) -> None:
    model = network(changes={"mb_format": None})
    error = refusal(with_network(tmp_path / "m.onnx", model))
    assert "did not make" in error.cause and "onnxruntime" in error.alternative


@pytest.mark.parametrize(
    "changes",
    [
        {"mb_format": "2"},
        {"classes": None},
        {"classes": '{"a": 1}'},
        {"classes": '["red", "red", "blue"]'},
        {"classes": '["red", "blue"]'},
        {"preprocess": '{"version": 999, "size": 32}'},
        {"preprocess": "[]"},
        {"metrics": "no"},
        {"metrics": "5"},
        {"metrics": '{"test_accuracy": "high"}'},
        {"metrics": '{"test_accuracy": 1e400}'},
        {"versions": "[2]"},
        {"tests": "\u00b2"},
        {"tests": "9" * 5000},
        {"classes": '["red", "gre\\ud800en", "blue"]'},
        {"classes": '["red", "gre\\udc80en", "blue"]'},
        {"metrics": '{"test_accuracy": 0.5, "note": "\\udfff"}'},
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, str | None]) -> None:
    refusal(with_network(tmp_path / "m.onnx", network(changes=changes)))


@pytest.mark.parametrize(
    "card",
    [{"run": 5}, {"created": []}, {"pictures": 3}, {"pictures": {"test": "x"}}, {"tests": {}}, {"tests": -1},
     {"note": "\ud800"}, {"architecture": None}],
)  # fmt: skip
def test_a_card_that_does_not_fit_is_refused(tmp_path: Path, card: dict[str, object]) -> None:
    model = network(changes=dict.fromkeys(("run", "metrics", "architecture", "tests", "versions")))
    content = {"bestModel.onnx": model.SerializeToString(), "card.json": json.dumps(card).encode()}
    said = refusal(write_zip(tmp_path / "m.zip", {**members(), **content})).cause
    assert "card.json" in said or next(iter(card)) in said


def test_whatever_stands_in_the_metadata_it_is_refused_or_can_be_shown(tmp_path: Path) -> None:
    """Bytes of a model that was made by hand: no raw error, and nothing that a notebook could not save."""
    whole = network().SerializeToString()
    at = [index for index in range(len(whole)) if whole[index : index + 4] in (b"tiny", b"f00d", b"loca", b"0.88")]
    assert len(at) >= 4
    for index in at:
        for junk in (b"\xff\xfe\xc0\x80", b"\xed\xa0\x80a", b"\0\0\0\0", b"[[[["):
            (tmp_path / "m.onnx").write_bytes(whole[:index] + junk + whole[index + 4 :])
            try:
                model = mb_jupyter.load(tmp_path / "m.onnx")
            except ModelError:
                continue
            json.dumps([model._repr_mimebundle_(), model.card, model.metrics], ensure_ascii=False).encode()


@pytest.mark.parametrize("name", ["m.onnx", "MLModel.zip", "bestModelMap.json"])
def test_a_file_of_gigabytes_is_refused_by_its_size(tmp_path: Path, name: str) -> None:
    (tmp_path / "bestModel.onnx").write_bytes(members()["bestModel.onnx"])
    with (tmp_path / name).open("wb") as file:
        file.truncate(5 * 2**30)  # sparse: it takes no room
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asked = tmp_path / ("bestModel.onnx" if name.endswith(".json") else name)
    with pytest.raises(ModelError, match=f"{name} has 5,368,709,120 bytes"):
        mb_jupyter.load(asked)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024, "it was read all the same"


def test_a_zip_that_lies_of_its_sizes_is_told_with_a_reason(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.zip")
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2")  # the last entry is card.json, and what follows it the list of the members
    struct.pack_into("<LL", data, at + 20, 5000, 5000)
    path.write_bytes(data)
    said = refusal(path).cause
    assert said.rpartition(": ")[2].strip(" .") and not said.endswith(": ."), said


def test_a_preprocessing_of_another_size_is_refused(tmp_path: Path) -> None:
    refusal(with_network(tmp_path / "m.onnx", network(changes={"preprocess": metadata(size=64)["preprocess"]})))


def test_external_data_is_never_read(tmp_path: Path) -> None:
    model = network()
    tensor = next(one for one in model.graph.initializer if one.name == "weights")
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    assert "external data" in refusal(with_network(tmp_path / "m.onnx", model)).cause


def test_external_data_is_found_in_a_branch_of_a_branch(tmp_path: Path) -> None:
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [0.0])
    hidden.external_data.add(key="location", value="/etc/passwd")
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=hidden)], "inner", [], [])
    outer = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner)], "outer", [], [])
    model = network()
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=outer))
    assert "external data" in refusal(with_network(tmp_path / "m.onnx", model)).cause


def test_other_inputs_and_outputs_are_refused(tmp_path: Path) -> None:
    model = network()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    refusal(with_network(tmp_path / "a.onnx", model))
    model = network()
    model.graph.output[0].name = "logits"
    refusal(with_network(tmp_path / "b.onnx", model))


def test_an_operator_that_nobody_knows_fails_when_it_is_run(tmp_path: Path) -> None:
    model = network()
    model.graph.node[2].op_type = "Evil"
    loaded = mb_jupyter.load(with_network(tmp_path / "m.onnx", model))
    with pytest.raises(ModelError, match="cannot run") as caught:
        loaded.predict(np.zeros((8, 8, 3), np.uint8))
    assert "Evil" in caught.value.why()


def test_a_network_that_answers_no_probabilities_is_noticed(tmp_path: Path) -> None:
    model = network()
    model.graph.node[4].op_type = "LogSoftmax"
    loaded = mb_jupyter.load(with_network(tmp_path / "m.onnx", model))
    with pytest.raises(ModelError, match="no probabilities"):
        loaded.predict(np.zeros((8, 8, 3), np.uint8))


def test_missing_and_empty_places_are_named(tmp_path: Path) -> None:
    refusal(tmp_path / "nothing.zip")
    refusal(tmp_path)
