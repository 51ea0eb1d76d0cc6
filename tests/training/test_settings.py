from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mb_jupyter.training.errors import TrainingError
from mb_jupyter.training.settings import Settings


def write(folder: Path, values: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def test_an_empty_object_gives_the_defaults(tmp_path):
    settings = Settings.read(write(tmp_path, {}))
    assert settings == Settings()
    assert (settings.architecture, settings.recipe, settings.epochs, settings.image_size) == ("auto", "auto", 12, 224)


def test_what_is_written_is_read_back(tmp_path):
    asked = Settings(architecture="resnet50", epochs=3, max_minutes=1.5, batch_size=8, seed=7, min_accuracy=0.9)
    assert Settings.read(write(tmp_path, asked.as_dict())) == asked


def test_every_problem_is_told_at_once(tmp_path):
    path = write(tmp_path, {"epoch": 3, "epochs": -1, "recipe": "fast", "seed": True, "zebra": 1})
    with pytest.raises(TrainingError) as refused:
        Settings.read(path)
    said = refused.value.cause
    assert said.startswith("5 settings are wrong: ")
    assert "no setting 'epoch'; did you mean epochs?" in said
    assert "no setting 'zebra'; allowed are architecture, weights" in said
    assert "epochs must be a whole number from 1 to 10000, not -1." in said
    assert 'recipe must be one of auto, features, finetune, not "fast".' in said
    assert "seed must be a whole number from 0 to 4294967295, not true." in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("architecture", ""), ("architecture", None), ("weights", 3), ("recipe", ["auto"]), ("recipe", None),
        ("epochs", 0), ("epochs", 2.5), ("epochs", "3"), ("max_minutes", 0), ("max_minutes", float("nan")),
        ("max_minutes", float("inf")), ("batch_size", 0), ("image_size", 31), ("image_size", 1025),
        ("learning_rate", 0), ("learning_rate", -1e-3), ("patience", 0), ("seed", -1), ("seed", 2**32),
        ("validation_fraction", 0), ("test_fraction", 1), ("min_accuracy", 1.01), ("run", None), ("cache", 1),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_name(tmp_path, name, value):
    with pytest.raises(TrainingError, match=f"^A setting is wrong: {name} must be "):
        Settings.read(write(tmp_path, {name: value}))


def test_fractions_must_leave_something_to_train_on(tmp_path):
    with pytest.raises(TrainingError, match=r"together are 1\.1"):
        Settings.read(write(tmp_path, {"validation_fraction": 0.5, "test_fraction": 0.6}))


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "3", "\xff"])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(TrainingError, match=r"not JSON|not an object"):
        Settings.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"absent\.json cannot be read"):
        Settings.read(tmp_path / "absent.json")


def test_settings_and_records_are_read_without_torch():
    program = (
        "import sys, mb_jupyter.training.settings, mb_jupyter.training.record; "
        "print([name for name in ('torch', 'numpy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
