"""The generated projects, used as a stranger uses them: a fresh environment without us, their tests, their answers."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mb_jupyter
from mb_jupyter.export import Export
from mb_jupyter.run import Run
from mb_jupyter.training import preprocess
from mb_jupyter.training.errors import PictureError
from tests.finished_run import write_run
from tests.picture_files import encoded, photo, put
from tests.tiny_model import COLOURS, network

pytestmark = pytest.mark.timeout(600)
PROJECTS = ("Model", "ConsoleApp", "Api")
CLEAN = {"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}


class Environment:
    """A virtual environment that has the exported projects and what they ask for, and nothing of ours."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)

    def install(self, *projects: str, alone: bool = False) -> None:
        """Install projects, with what they need or alone."""
        flags = ["--no-deps", "--no-build-isolation"] if alone else []
        self.pip("install", "-q", *flags, *projects)

    def pip(self, *words: object) -> str:
        """Run pip, which finds its packages as it is set up on this machine."""
        return self.run("-m", "pip", *words, environment=dict(os.environ)).stdout

    def run(
        self, *words: object, cwd: Path | None = None, codes: Sequence[int] = (0,), environment: Any = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with these words; it must end with one of the codes."""
        command = [str(self.bin / "python"), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment or CLEAN)
        assert done.returncode in codes, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, code: str, *words: object) -> Any:
        """Run a program that prints JSON."""
        return json.loads(self.run("-c", code, *words).stdout)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run whose pictures lie where its record says."""
    place = tmp_path_factory.mktemp("hues")
    return write_run(place, data=str(place / "colours"))


@pytest.fixture(scope="session")
def export(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run.export(tmp_path_factory.mktemp("projects"), name="Rot & Grün", api=True)


@pytest.fixture(scope="session")
def fresh(export: Export, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return one environment for all tests here; making it takes half a minute."""
    fresh = Environment(tmp_path_factory.mktemp("fresh") / "venv")
    lock = export.root / "RotGrunApi" / "requirements.lock"  # what the container has is what is tested
    fresh.install("-c", str(lock), *(f"{export.root / folder}[test]" for folder in export.folders), "hatchling")
    return fresh


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a picture of every kind that has its own way through the preprocessing, and a broken one."""
    folder = tmp_path_factory.mktemp("pictures")
    turned = Image.Exif()
    turned[0x0112] = 6
    image = photo(1, (200, 130))
    seen_through = np.dstack([np.asarray(image), np.linspace(0, 255, 200 * 130).reshape(130, 200)]).astype(np.uint8)
    files = {
        "plain.png": encoded(image, "PNG"),
        "large.jpg": encoded(photo(2, (1600, 1201))),
        "turned.jpg": encoded(photo(3, (300, 200)), exif=turned),
        "cmyk.jpg": encoded(photo(4).convert("CMYK")),
        "grey.bmp": encoded(photo(5).convert("L"), "BMP"),
        "palette.gif": encoded(photo(6).convert("P"), "GIF"),
        "through.png": encoded(Image.fromarray(seen_through), "PNG"),
        "sixteen.png": encoded(Image.fromarray(np.arange(60 * 40, dtype=np.uint16).reshape(40, 60) * 27), "PNG"),
        "tall ä.webp": encoded(photo(7, (40, 300)), "WEBP"),
        "broken.jpg": encoded(photo(8))[:900],
    }
    return [put(folder / name, data) for name, data in files.items()]


# -- as they come ----------------------------------------------------------------------------------------


def test_nothing_of_ours_and_nothing_heavy_is_there(fresh: Environment, export: Export) -> None:
    needed = {"onnxruntime", "numpy", "pillow"}
    below = {"flatbuffers", "packaging", "protobuf"}  # which onnxruntime asks for
    code = """
import json, re
from importlib.metadata import requires
lines = [line for line in requires("rot-grun-model") if "extra" not in line]
print(json.dumps([re.match(r"[\\w.-]+", line)[0].lower() for line in lines]))
"""
    assert set(fresh.json(code)) == needed
    listed = json.loads(fresh.pip("list", "--format", "json"))
    names = {entry["name"].lower() for entry in listed}
    assert needed <= names and below & names
    assert not names & {"mb-jupyter", "mb_jupyter", "torch", "torchvision", "onnx", "pandas", "scipy", "ipython"}


@pytest.mark.parametrize("project", PROJECTS)
def test_its_own_tests_pass(fresh: Environment, export: Export, project: str) -> None:
    said = fresh.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=export.root / f"RotGrun{project}").stdout
    assert "passed" in said
    assert "skipped" not in said, "on this machine the last digits are those that were recorded"


@pytest.mark.parametrize("project", PROJECTS)
def test_it_is_clean_and_typed(fresh: Environment, export: Export, project: str) -> None:
    folder = export.root / f"RotGrun{project}"
    for words in (("ruff", "check", "--no-cache"), ("ruff", "format", "--check", "--no-cache"), ("mypy",)):
        fresh.run("-m", *words, *(["."] if words[0] == "ruff" else ["--cache-dir", os.devnull]), cwd=folder)


@pytest.mark.parametrize("name", ["x", "every kind of tree in the botanic garden of the old town"])
def test_it_is_clean_whatever_its_name(fresh: Environment, run: Run, tmp_path: Path, name: str) -> None:
    run.export(tmp_path, name=name, api=True)
    for words in (("check",), ("format", "--check")):
        fresh.run("-m", "ruff", *words, "--no-cache", tmp_path)


def test_a_test_notices_another_model(fresh: Environment, run: Run, tmp_path: Path) -> None:
    made = run.export(tmp_path, name="other")
    weights = network(changes={"classes": json.dumps(COLOURS)})
    weights.graph.initializer[2].raw_data = np.roll(np.eye(3, dtype=np.float32) * 9, 1, axis=1).tobytes()
    (made.model / "src" / "other_model" / "bestModel.onnx").write_bytes(weights.SerializeToString())
    environment = {**CLEAN, "PYTHONPATH": str(made.model / "src")}
    done = fresh.run("-m", "pytest", "-q", cwd=made.model, codes=(1,), environment=environment)
    assert "test_the_answer_is_the_recorded_one" in done.stdout


# -- the same answers ------------------------------------------------------------------------------------

ANSWERS = """
import json, sys
from {package} import PictureError, predict_many
answers = predict_many(sys.argv[1:])
print(json.dumps([str(a) if isinstance(a, PictureError) else [a.Prediction, dict(a.Score), a.unsure] for a in answers]))
"""


def ours(run: Run, pictures: Sequence[Path]) -> list[Any]:
    return [one.error or [one.Prediction, dict(one.Score)] for one in run.predict([str(path) for path in pictures])]


def test_the_pixels_are_ours(fresh: Environment, pictures: list[Path]) -> None:
    code = """
import hashlib, json, sys
from rot_grun_model import PictureError
from rot_grun_model.preprocess import load
def pixels(path):
    try:
        return hashlib.sha256(load(path, 37).tobytes()).hexdigest()
    except PictureError as error:
        return [str(error), error.kind]
print(json.dumps([pixels(path) for path in sys.argv[1:]]))
"""

    def pixels(path: Path) -> Any:
        try:
            return hashlib.sha256(preprocess.load(path, 37).tobytes()).hexdigest()
        except PictureError as error:
            return [str(error), error.kind]

    expected = [pixels(path) for path in pictures]
    assert fresh.json(code, *pictures) == expected
    assert [path.name for path, found in zip(pictures, expected, strict=True) if isinstance(found, list)] == [
        "broken.jpg"
    ]


def test_the_answers_are_ours_to_the_last_digit(fresh: Environment, run: Run, pictures: list[Path]) -> None:
    answers = fresh.json(ANSWERS.format(package="rot_grun_model"), *pictures)
    assert [one if isinstance(one, str) else one[:2] for one in answers] == ours(run, pictures)


def test_the_console_programs_table_is_ours_byte_for_byte(
    fresh: Environment, run: Run, pictures: list[Path], tmp_path: Path
) -> None:
    folder = pictures[0].parent
    run.model.predict_to(tmp_path / "ours.csv", folder)
    program = fresh.bin / "rot-grun-predict"
    done = subprocess.run([program, folder, "--csv", tmp_path / "theirs.csv"], capture_output=True, env=CLEAN)
    assert done.returncode == 1, "one picture is broken"
    assert (tmp_path / "theirs.csv").read_bytes() == (tmp_path / "ours.csv").read_bytes()


def test_names_of_formulas_are_neutral_there_and_read_back(fresh: Environment, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for number, name in enumerate(("=1.png", "'=2.png", "@a;=3.png", "\t-4.png")):
        put(folder / name, encoded(photo(number, (60, 60)), "PNG"))
    (folder / "-broken.png").write_bytes(b"no image")
    program = fresh.bin / "rot-grun-predict"
    names = sorted(path.name for path in folder.iterdir() if path.name != "-broken.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run.model.predict_to(tmp_path / "ours.csv", [Path(name) for name in names])
    done = subprocess.run([program, "--csv", "theirs.csv", "--", *names], capture_output=True, env=CLEAN, cwd=folder)
    assert done.returncode == 0, done.stderr
    table = (folder / "theirs.csv").read_bytes()
    assert table == (tmp_path / "ours.csv").read_bytes()
    assert not [line for line in table.decode().splitlines() if line.lstrip('"').startswith(("=", "@", "-", "\t"))]
    again = subprocess.run([program, "theirs.csv", "--csv", "-"], capture_output=True, env=CLEAN, cwd=folder)
    assert again.returncode == 0 and again.stdout == table, "its own table is a list of the same images"


def test_the_container_is_pinned(fresh: Environment, export: Export) -> None:
    folder = export.root / "RotGrunApi"
    docker = (folder / "Dockerfile").read_text("utf-8")
    (base,) = [line.split()[1] for line in docker.splitlines() if line.startswith("FROM")]
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", base)
    assert "-r /build/RotGrunApi/requirements.lock" in docker and "--no-deps --no-build-isolation" in docker
    lines = [line for line in (folder / "requirements.lock").read_text("utf-8").splitlines() if line[:1] != "#"]
    pins = dict(line.split("==") for line in lines)
    listed = {entry["name"].lower().replace("_", "-"): entry["version"] for entry in json.loads(
        fresh.pip("list", "--format", "json")
    )}  # fmt: skip
    code = """
import json, re
from importlib.metadata import requires
def needed(name, seen):
    for line in requires(name) or ():
        if ";" not in line:
            other = re.match(r"[\\w.-]+", line)[0].lower().replace("_", "-")
            if other not in seen:
                seen.add(other)
                needed(other, seen)
    return seen
print(json.dumps(sorted(needed("rot-grun-api", set()) | needed("hatchling", {"hatchling"}))))
"""
    needed = set(fresh.json(code)) - {"rot-grun-model"}
    assert needed <= pins.keys(), "a package that the container needs has no version"
    assert {name: listed[name] for name in needed} == {name: pins[name] for name in needed}


def test_the_snippet_runs_there_too(fresh: Environment, run: Run, export: Export) -> None:
    said = fresh.run("-c", export.snippet).stdout
    answer: Any = run.predict(export.model / "tests" / "pictures" / "1.png")
    assert said.splitlines()[0].startswith(f"{answer.label} {answer.score:.2f}")


# -- a threshold -----------------------------------------------------------------------------------------


def test_a_threshold_that_the_model_carries_is_honoured(
    fresh: Environment, tmp_path: Path, pictures: list[Path]
) -> None:
    run = write_run(tmp_path, data=str(tmp_path / "colours"))
    weights = network(changes={"unsure_below": "0.45"}).SerializeToString()
    (run.folder / "bestModel.onnx").write_bytes(weights)
    (run.folder / "MLModel.zip").unlink()
    made = run.export(tmp_path / "out", name="careful")
    fresh.install(*(str(made.root / folder) for folder in made.folders), alone=True)
    for folder in made.folders:
        fresh.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=made.root / folder)
    answers = [
        one for one in fresh.json(ANSWERS.format(package="careful_model"), *pictures) if not isinstance(one, str)
    ]
    assert {unsure for _, _, unsure in answers} == {True, False}
    assert all(unsure == (max(score.values()) < 0.45) for _, score, unsure in answers)
    doubtful = next(path for path, one in zip(pictures, answers, strict=False) if one[2])
    said = subprocess.run([fresh.bin / "careful-predict", doubtful], capture_output=True, text=True, env=CLEAN).stdout
    assert f"{doubtful}: unsure (" in said
    all_of_them = pictures[0].parent
    done = subprocess.run([fresh.bin / "careful-predict", all_of_them, "--csv", "-"], capture_output=True, env=CLEAN)
    run.model.predict_to(tmp_path / "ours.csv", all_of_them)
    assert done.stdout == (tmp_path / "ours.csv").read_bytes()
    assert b",Unsure" in done.stdout
    assert "below 0.45 is called unsure" in (made.model / "MODEL_CARD.md").read_text("utf-8")
    assert "true below a probability of 0.45" in (made.model / "README.md").read_text("utf-8")


def test_edited_projects_still_fit_together_after_the_export_of_another_run(
    fresh: Environment, run: Run, tmp_path: Path
) -> None:
    made = run.export(tmp_path / "out", name="twice", api=True)
    for folder in made.folders:
        with (made.root / folder / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write("\n# mine\n")
    other = write_run(tmp_path, data=str(tmp_path / "colours"))
    record = {**other.record, "id": "20261124-101502-cd34"}
    (other.folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    made = Run(other.folder).export(tmp_path / "out", name="twice", api=True)
    assert len(made.kept) == 3
    fresh.install(*(str(made.root / folder) for folder in made.folders), alone=True)
    assert "No broken requirements" in fresh.pip("check")
    said = fresh.json(
        "import json, twice_model as m, twice_api as a; print(json.dumps([m.__version__, a.__version__]))"
    )
    assert said == ["1.0.0+20261124.101502.cd34"] * 2
    code = "import json, importlib.metadata as m; print(json.dumps(m.requires('twice-api')))"
    assert {"twice-model==1.0.0+20261124.101502.cd34", "fastapi>=0.115"} <= {
        line.replace(" ", "") for line in fresh.json(code)
    }


# -- a model that was really trained ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Return a run of the real program on digits of scikit-learn."""
    from sklearn.datasets import load_digits

    place = tmp_path_factory.mktemp("trained")
    digits = load_digits(n_class=3)
    for number, (pixels, label) in enumerate(zip(digits.images[:120], digits.target[:120], strict=True)):
        path = place / "digits" / f"digit {label}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((64, 64)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MB_WORKSPACE", str(place / "kept"))
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        yield mb_jupyter.train(
            data=str(place / "digits"), recipe="features", architecture="efficientnet_lite0", seed=3
        ).wait()


def test_a_trained_model_leaves_with_its_answers(fresh: Environment, trained: Run, tmp_path: Path) -> None:
    made = trained.export(tmp_path / "out")
    fresh.install(*(str(made.root / folder) for folder in made.folders), alone=True)
    for folder in made.folders:
        said = fresh.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=made.root / folder).stdout
        assert "passed" in said and "skipped" not in said
    root = Path(trained.record["data"])
    with (trained.folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        held_out = list(csv.DictReader(file))
    paths = [root / row["ImageSource"] for row in held_out]
    answers = fresh.json(ANSWERS.format(package="digits_model"), *paths)
    assert [one[:2] for one in answers] == ours(trained, paths)
    for row, (prediction, score, _) in zip(held_out, answers, strict=True):
        assert row["Prediction"] == prediction
        assert {name: np.float32(row[f"Score.{name}"]) for name in score} == {
            name: np.float32(value) for name, value in score.items()
        }
    assert json.loads((made.model / "tests" / "recorded.json").read_text())["pictures"][0]["Label"].startswith("digit")


def test_the_package_is_less_than_a_megabyte_beyond_its_model(fresh: Environment, trained: Run, tmp_path: Path) -> None:
    made = trained.export(tmp_path / "out", api=True)
    fresh.pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, made.model)
    (wheel,) = tmp_path.glob("*.whl")
    network_bytes = (trained.folder / "bestModel.onnx").stat().st_size
    assert wheel.stat().st_size < network_bytes + 1_000_000
    archive_bytes = (trained.folder / "MLModel.zip").stat().st_size
    assert made.files["Bytes"].sum() < network_bytes + archive_bytes + 1_000_000
