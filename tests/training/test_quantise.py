"""The int8 variant: made, loaded like the other, measured, and recommended by the rule only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from mb_jupyter import load
from mb_jupyter.prediction import Predictions
from mb_jupyter.training import export, quantise
from mb_jupyter.training.data import Sample
from mb_jupyter.training.weights import sha256_of

from .conftest import SIZE
from .test_export import FACTS


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Return twelve smooth pictures of three colours."""
    random, found = np.random.default_rng(0), []
    for number in range(12):
        path = tmp_path / f"{number}.png"
        coarse = random.integers(0, 256, (4, 4, 3), np.uint8)
        coarse[..., number % 3] = 220
        Image.fromarray(coarse).resize((SIZE, SIZE)).save(path)
        found.append(Sample(path.name, path, number % 3, sha256_of(path)))
    return found


def test_it_is_a_smaller_model_of_the_same_form(classifier, warm_cache, tmp_path: Path, samples: list[Sample]) -> None:
    facts = {**FACTS, "unsure_below": 0.4}
    export.write_model(tmp_path, classifier, facts, published=True)
    warm_cache()
    whole = (tmp_path / "bestModel.onnx").read_bytes()
    (tmp_path / quantise.FILE).write_bytes(quantise.quantised(whole, samples, SIZE))
    model = onnx.load(tmp_path / quantise.FILE)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said == {entry.key: entry.value for entry in onnx.load_from_string(whole).metadata_props} | {
        "variant": "int8"
    }
    assert (tmp_path / quantise.FILE).stat().st_size < len(whole) / 3
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}
    float32, int8 = load(tmp_path / "bestModel.onnx"), load(tmp_path / quantise.FILE)
    assert int8.classes == float32.classes and int8.unsure_below == 0.4
    paths = [sample.path for sample in samples]
    ours, theirs = (np.stack(list(export.answers(str(tmp_path / name), samples, SIZE))) for name in
                    ("bestModel.onnx", quantise.FILE))  # fmt: skip
    assert np.abs(ours - theirs).max() < 0.2
    answers = int8.predict(paths)
    assert isinstance(answers, Predictions)
    assert answers.labels == [float32.classes[place] for place in theirs.argmax(1)]


def test_the_normalisation_stays_in_float(classifier, warm_cache, tmp_path: Path, samples: list[Sample]) -> None:
    export.write_model(tmp_path, classifier, FACTS, published=True)
    warm_cache()
    whole = (tmp_path / "bestModel.onnx").read_bytes()
    body = onnx.load_from_string(quantise.quantised(whole, samples, SIZE)).graph
    made_by = {name: node for node in body.node for name in node.output}
    constants = {value.name for value in body.initializer}
    first = next(node for node in body.node if node.op_type == "Conv")
    quantised = made_by[made_by[first.input[0]].input[0]]
    shift = made_by[quantised.input[0]]
    assert (quantised.op_type, shift.op_type) == ("QuantizeLinear", "Add")
    assert constants & set(shift.input)  # as it is, not read back from integers
    assert not any(made_by[name].op_type == "DequantizeLinear" for name in shift.input if name in made_by)


def test_no_processor_saturates(classifier, warm_cache, tmp_path: Path, samples: list[Sample]) -> None:
    """Without VNNI two neighbouring products of a convolution are added in 16 bits, and stop at 32,767."""
    export.write_model(tmp_path, classifier, FACTS, published=True)
    warm_cache()
    body = onnx.load_from_string(quantise.quantised((tmp_path / "bestModel.onnx").read_bytes(), samples, SIZE)).graph
    made_by = {name: node for node in body.node for name in node.output}
    constants = {value.name: onnx.numpy_helper.to_array(value) for value in body.initializer}
    weights = [
        constants[made_by[node.input[1]].input[0]]
        for node in body.node
        if node.op_type == "Conv" and made_by[node.input[1]].op_type == "DequantizeLinear"
    ]
    assert len(weights) > 20 and {weight.dtype for weight in weights} == {np.dtype(np.int8)}
    largest = max(int(np.abs(weight.astype(int)).max()) for weight in weights)
    assert 2 * 255 * largest <= 32767
    assert largest == 64  # the whole of the range that is safe


def test_the_same_pictures_give_the_same_model(classifier, warm_cache, tmp_path: Path, samples: list[Sample]) -> None:
    export.write_model(tmp_path, classifier, FACTS, published=True)
    warm_cache()
    whole = (tmp_path / "bestModel.onnx").read_bytes()
    assert quantise.quantised(whole, samples, SIZE) == quantise.quantised(whole, samples, SIZE)
