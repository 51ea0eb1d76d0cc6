"""The ONNX graph of the features: exported once, kept, and never mistaken for one of other weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from mb_jupyter.training import disk, graph

from .conftest import SIZE


def run(content: bytes, images: np.ndarray, output: str = graph.FEATURES) -> np.ndarray:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output], {graph.INPUT: images})[0])


def expected(classifier, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(classifier.features(torch.from_numpy(images)).numpy())


def test_it_computes_the_features_for_any_number_of_pictures(classifier, images, warm_cache, capfd) -> None:
    content = graph.features_graph(classifier.backbone, SIZE, keep=True)
    warm_cache()
    for count in (1, 5):
        np.testing.assert_allclose(
            run(content, images[:count]), expected(classifier, images[:count]), rtol=1e-3, atol=1e-4
        )
    assert capfd.readouterr() == ("", "")


def test_it_is_exported_once_until_a_weight_changes(classifier, images, warm_cache) -> None:
    first = graph.features_graph(classifier.backbone, SIZE, keep=True)
    assert graph.features_graph(classifier.backbone, SIZE) is first
    with torch.no_grad():
        classifier.backbone.parts[0][0].weight.mul_(0.5)
    second = graph.features_graph(classifier.backbone, SIZE)
    np.testing.assert_allclose(run(second, images), expected(classifier, images), rtol=1e-3, atol=1e-4)


def test_a_kept_graph_is_found_again_and_a_damaged_one_is_not_used(
    classifier, warm_cache, own_cache, monkeypatch
) -> None:
    first = graph.features_graph(classifier.backbone, SIZE, keep=True)
    (file,) = (own_cache / "graphs").glob("*.onnx")
    monkeypatch.setattr(graph, "_last", None)
    monkeypatch.setattr(graph, "_export", lambda *_: pytest.fail("it was exported again"))
    assert graph.features_graph(classifier.backbone, SIZE, keep=True) == first
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    monkeypatch.setattr(graph, "_last", None)
    monkeypatch.setattr(graph, "_export", lambda *_: b"made again")
    assert graph.features_graph(classifier.backbone, SIZE, keep=True) == b"made again"


def test_only_the_last_few_graphs_are_kept(own_cache) -> None:
    for number in range(7):
        graph._store(own_cache / "graphs" / f"{number}.onnx", b"x")
    assert len(list((own_cache / "graphs").iterdir())) == 4


def test_a_head_on_top(classifier, images, warm_cache) -> None:
    content = graph.features_graph(classifier.backbone, SIZE, keep=True)
    weight, bias = classifier.head.folded()
    model = graph.with_head(content, weight, bias, 1.7)
    onnx.checker.check_model(model, full_check=True)
    assert [output.name for output in model.graph.output] == ["probabilities"]
    with torch.inference_mode():
        scores = classifier.probabilities(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(run(model.SerializeToString(), images, graph.OUTPUT), scores, atol=1e-5)


def test_nothing_of_this_machine_is_written_into_it(classifier, warm_cache) -> None:
    content = graph.features_graph(classifier.backbone, SIZE, keep=True)
    for word in (b"site-packages", b"/root", b"/home", b".py", b"stack_trace"):
        assert word not in content


def test_a_file_is_seen_whole_or_not_at_all(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(TypeError):
        disk.store(tmp_path / "x", "no bytes")  # type: ignore[arg-type]
    assert (tmp_path / "x").read_bytes() == b"old"
    disk.store(tmp_path / "x", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"new")]
