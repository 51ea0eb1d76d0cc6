"""What is generated, before anybody uses it: names, facts, places. How it runs is in test_export_projects.py."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import mb_jupyter
from mb_jupyter.errors import ExportError, MBError
from mb_jupyter.export import Export, names, place
from mb_jupyter.run import Run
from tests.finished_run import write_run
from tests.tiny_model import COLOURS

PACKAGE = Path(mb_jupyter.__file__).parent
STRANGE = ('a, "quoted" | name', "<img src=x onerror=alert(1)>", "日本 🌹\n*bold*")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    place = tmp_path_factory.mktemp("run")
    before = Path.cwd()
    os.chdir(place)  # a run says where its pictures lie as it was told: from here
    yield write_run(place, experiment="hues")
    os.chdir(before)


def plain(export: Export) -> str:
    return export._repr_mimebundle_()["text/plain"]


# -- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "folder", "package"),
    [
        ("flowers", "FlowersModel", "flowers_model"),
        ("flower photos 2026", "FlowerPhotos2026Model", "flower_photos_2026_model"),
        ("flower_photos", "FlowerPhotosModel", "flower_photos_model"),
        ("flowerPhotos", "FlowerPhotosModel", "flower_photos_model"),
        ("HTMLPages", "HTMLPagesModel", "html_pages_model"),
        ("Blüten & Bäume", "BlutenBaumeModel", "bluten_baume_model"),
        ("Straße Øst œuvre", "StrasseOstOeuvreModel", "strasse_ost_oeuvre_model"),
        ("class", "ClassModel", "class_model"),
        ("import", "ImportModel", "import_model"),
        ("None", "NoneModel", "none_model"),
        ("2026 trees", "Pictures2026TreesModel", "pictures_2026_trees_model"),
        ("花", "PicturesModel", "pictures_model"),
        ("../../etc/passwd", "EtcPasswdModel", "etc_passwd_model"),
        ("my model", "MyModel", "my_model"),
        ('"; rm -rf / #', "RmRfModel", "rm_rf_model"),
        ("{{package}}", "PackageModel", "package_model"),
    ],
)
def test_any_name_becomes_names_that_everything_takes(given: str, folder: str, package: str) -> None:
    found = names.choose(given)
    assert (found.folder("Model"), found.package("Model")) == (folder, package)
    for name in (found.package("Model"), found.package("ConsoleApp"), found.package("Api")):
        assert name.isidentifier() and name.isascii()
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-predict", found.program)


def test_a_name_that_could_not_stay_is_said() -> None:
    assert names.choose("flowers").note == names.choose("flower_photos").note == ""
    assert names.choose("Blüten & Bäume").note.startswith("'Blüten & Bäume' became BlutenBaume")
    assert len(names.choose("long " * 100).snake) <= names.LONGEST
    assert len(names.choose("x" * 300).camel) <= names.LONGEST
    with pytest.raises(ExportError, match="empty"):
        names.choose("  ")


# -- what is in it ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def export(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run.export(tmp_path_factory.mktemp("out") / "my models", api=True)


def test_the_files_of_the_model_are_the_runs_own(run: Run, export: Export) -> None:
    inside = export.model / "src" / "hues_model"
    for name in ("bestModel.onnx", "bestModelMap.json"):
        assert (inside / name).read_bytes() == (run.folder / name).read_bytes()
    assert (export.model / "MLModel.zip").read_bytes() == (run.folder / "MLModel.zip").read_bytes()
    assert (inside / "preprocess.py").read_bytes() == (PACKAGE / "training" / "preprocess.py").read_bytes()
    assert mb_jupyter.load(export.model / "MLModel.zip").classes == COLOURS


def test_the_table_lists_every_file(export: Export) -> None:
    listed = dict(zip(export.files["File"], export.files["Bytes"], strict=True))
    there = {path.relative_to(export.root).as_posix(): path.stat().st_size for path in export.root.rglob("*")
             if path.is_file() and path.name != place.MANIFEST}  # fmt: skip
    assert listed == there
    assert export.kept == export.beside == ()
    assert [path.name for path in export.root.iterdir() if path.name.startswith(".")] == []


def test_one_line_of_each_project_says_where_it_comes_from(export: Export) -> None:
    for folder in export.folders:
        said = [
            line
            for path in (export.root / folder).rglob("*")
            if path.is_file() and path.suffix not in (".onnx", ".zip", ".png")
            for line in path.read_text("utf-8").splitlines()
            if re.search("mb_jupyter|model builder|jupyter", line, re.IGNORECASE)
        ]
        assert len(said) == 1, said
        assert said[0].startswith(f"Generated by Model Builder for Jupyter (mb_jupyter {mb_jupyter.__version__})")


def test_nothing_is_left_unfilled(export: Export) -> None:
    for path in export.root.rglob("*"):
        if path.suffix in (".py", ".md", ".toml"):
            text = path.read_text("utf-8")
            assert not re.search(r"\{\{\w+\}\}", text), path
            assert "_package_" not in str(path)
        if path.suffix == ".py":
            ast.parse(text)
        if path.suffix == ".toml":
            tomllib.loads(text)


def test_the_recorded_answers_are_those_on_held_out_pictures(run: Run, export: Export) -> None:
    told = json.loads((export.model / "tests" / "recorded.json").read_text("utf-8"))
    assert [picture["Label"] for picture in told["pictures"]] == [*COLOURS, *COLOURS], "every class comes first"
    rows = run.report.frame.set_index("ImageSource")
    for picture in told["pictures"]:
        row = rows[rows[[f"Score.{name}" for name in COLOURS]].round(6).eq(
            [round(picture["Score"][name], 6) for name in COLOURS]).all(axis=1)]  # fmt: skip
        assert list(row["Label"]) == [picture["Label"]]
        assert list(row["Prediction"]) == [picture["Prediction"]]


def test_the_card_says_what_the_report_says(run: Run, export: Export) -> None:
    card = (export.model / "MODEL_CARD.md").read_text("utf-8")
    report = run.report
    assert f"of {report.pictures:,} held-out pictures are right ({report.right:,};" in card
    for name, row in report.per_class.iterrows():
        assert f"| {name} | {int(row['Support'])} | {row['Precision']:.3f} | {row['Recall']:.3f} |" in card
    assert run.handle in card
    assert f"| {report.ece:.3f} over {report.pictures} held-out pictures, by chance alone up to " in card
    assert f"- {report.confusions[-1]}" in card, "one picture was, two pictures were"
    assert hashlib.sha256((run.folder / "bestModel.onnx").read_bytes()).hexdigest() in card


def test_what_cannot_be_had_is_said_and_not_invented(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / run.folder.name)
    bare = Run(tmp_path / run.folder.name)
    for name in ("predictions.csv", "report.json", "MLModel.zip"):
        (bare.folder / name).unlink()
    made = bare.export(tmp_path / "out")
    assert "No held-out picture could be read" in plain(made)
    assert "drawn patterns" in (made.model / "README.md").read_text("utf-8")
    assert "It was not evaluated" in (made.model / "MODEL_CARD.md").read_text("utf-8")
    assert mb_jupyter.load(made.model / "MLModel.zip").classes == COLOURS


def test_a_picture_that_was_changed_since_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path, each=2)
    first = tmp_path / "colours" / "red" / "00.png"
    shutil.copy(tmp_path / "colours" / "blue" / "00.png", first)
    made = run.export(tmp_path / "out")
    assert "1 held-out picture gets another answer than in the run" in plain(made)
    assert len(json.loads((made.model / "tests" / "recorded.json").read_text("utf-8"))["pictures"]) == 5


def test_strange_class_names_stay_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path, STRANGE, data="strange", experiment="hues")
    made = run.export(tmp_path / "out <b>", name='x" <i>\n# {{package}}')
    classes = json.loads((made.model / "src" / "x_i_package_model" / "bestModelMap.json").read_text("utf-8"))
    assert tuple(classes) == STRANGE
    card = (made.model / "MODEL_CARD.md").read_text("utf-8")
    assert "<img" not in card and "*bold*" not in card.replace(r"\*bold\*", "")
    assert 'quoted" \\| name' in card
    html = made._repr_mimebundle_()["text/html"]
    assert "<i>" not in html and "<b>" not in html
    for path in made.root.rglob("*.toml"):
        tomllib.loads(path.read_text("utf-8"))


def test_the_snippet_runs_as_it_stands(run: Run, export: Export, tmp_path: Path) -> None:
    code = f"{export.snippet}\nimport sys; assert 'mb_jupyter' not in sys.modules"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    answer: Any = run.predict(export.model / "tests" / "pictures" / "1.png")
    first, *scores = done.stdout.splitlines()
    assert first == f"{answer.label} {answer.score:.2f}"
    assert [line.split(maxsplit=1)[1] for line in scores] == list(answer.scores)


def test_it_shows_its_files_and_how_to_use_them(export: Export) -> None:
    bundle = export._repr_mimebundle_()
    for said in (bundle["text/plain"], bundle["text/html"]):
        assert "HuesModel/src/hues_model/bestModel.onnx" in said
        assert f"{(export.model / 'MLModel.zip').stat().st_size:,}" in said
        assert "pip install ./HuesModel ./HuesConsoleApp ./HuesApi" in said
        assert "from hues_model import predict" in said


# -- twice -----------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def retrained(run: Run, folder: Path) -> Run:
    """Return the run as another one would be that knows more."""
    shutil.copytree(run.folder, folder / "20261124-101502-cd34")
    again = Run(folder / "20261124-101502-cd34")
    record = {**run.record, "id": "20261124-101502-cd34", "handle": "local://hues/20261124-101502-cd34"}
    (again.folder / "run.json").write_text(json.dumps(record))
    return again


def test_a_second_export_changes_nothing(run: Run, tmp_path: Path) -> None:
    run.export(tmp_path)
    before = contents(tmp_path)
    assert run.export(tmp_path).kept == ()
    assert contents(tmp_path) == before


def test_an_edited_file_is_kept_and_the_new_one_laid_beside_it(run: Run, tmp_path: Path) -> None:
    first = run.export(tmp_path / "out")
    readme, mine = first.model / "README.md", first.model / "src" / "hues_model" / "mine.py"
    readme.write_text("my own words")
    mine.write_text("x = 1\n")
    same = run.export(tmp_path / "out")
    assert (same.kept, same.beside) == (("HuesModel/README.md",), ()), "it was edited on this very version"
    newer = retrained(run, tmp_path)
    second = newer.export(tmp_path / "out")
    assert second.kept == ("HuesModel/README.md",)
    assert second.beside == ("HuesModel/README.md.new",)
    assert readme.read_text() == "my own words" and mine.read_text() == "x = 1\n"
    assert newer.handle in (first.model / "README.md.new").read_text("utf-8")
    assert newer.handle in (first.model / "MODEL_CARD.md").read_text("utf-8"), "what was not edited is renewed"
    for said in ("HuesModel/README.md", "HuesModel/README.md.new"):
        assert said in plain(second)


def test_what_was_laid_beside_goes_when_it_was_taken_over_and_is_not_overwritten_when_edited(
    run: Run, tmp_path: Path
) -> None:
    made = run.export(tmp_path / "out")
    readme, new = made.model / "README.md", made.model / "README.md.new"
    newer = retrained(run, tmp_path)
    readme.write_text("mine")
    newer.export(tmp_path / "out")
    readme.write_bytes(new.read_bytes())
    assert newer.export(tmp_path / "out").kept == ()
    assert not new.exists()
    readme.write_text("mine again")
    new.write_text("my notes")
    assert run.export(tmp_path / "out").beside == ("HuesModel/README.md.new2",)
    assert new.read_text() == "my notes"
    (made.model / "README.md.new2").unlink()
    assert run.export(tmp_path / "out").beside == (), "it was looked at and taken away"


def test_a_place_that_is_somebody_elses_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "HuesModel").mkdir()
    (tmp_path / "HuesModel" / "README.md").write_text("somebody's")
    with pytest.raises(ExportError, match="was not made by an export"):
        run.export(tmp_path)
    assert contents(tmp_path) == {"HuesModel/README.md": b"somebody's"}
    assert "OthersModel" in run.export(tmp_path, name="others").folders
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        run.export(tmp_path / "file")


def test_a_link_in_the_place_of_a_file_is_not_followed(run: Run, tmp_path: Path) -> None:
    made = run.export(tmp_path / "out")
    (tmp_path / "outside.md").write_text("outside")
    (made.model / "README.md").unlink()
    (made.model / "README.md").symlink_to(tmp_path / "outside.md")
    assert retrained(run, tmp_path).export(tmp_path / "out").kept == ("HuesModel/README.md",)
    assert (tmp_path / "outside.md").read_text() == "outside"


def test_a_manifest_that_was_tampered_with_reaches_nothing_outside(run: Run, tmp_path: Path) -> None:
    made = run.export(tmp_path / "out")
    victim = tmp_path / "victim.txt"
    victim.write_text("here")
    manifest = made.model / place.MANIFEST
    told = json.loads(manifest.read_text())
    told["files"]["../../victim.txt"] = [hashlib.sha256(b"here").hexdigest()]
    manifest.write_text(json.dumps(told))
    run.export(tmp_path / "out")
    assert victim.read_text() == "here"


def test_an_export_that_fails_leaves_all_as_it_was(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run.export(tmp_path / "out")
    before = contents(tmp_path / "out")
    newer = retrained(run, tmp_path)
    real = Path.replace

    def full(self: Path, target: str | Path) -> Path:
        if Path(target).is_relative_to(made.model) and self.suffix == ".py":
            raise OSError(28, "No space left on device")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(ExportError, match="No space left"):
            newer.export(tmp_path / "out")
    after = contents(tmp_path / "out")
    assert {k: v for k, v in after.items() if place.MANIFEST not in k} == {
        k: v for k, v in before.items() if place.MANIFEST not in k
    }
    assert newer.export(tmp_path / "out").kept == (), "what was moved and taken back is nobody's edit"


def test_one_that_is_killed_in_the_middle_is_finished_by_the_next(run: Run, tmp_path: Path) -> None:
    made = run.export(tmp_path / "out")
    newer = retrained(run, tmp_path)
    code = (
        "import os, pathlib, sys\n"
        "from mb_jupyter.run import Run\n"
        "real, count = pathlib.Path.replace, 0\n"
        "def replace(self, target):\n"
        "    global count\n"
        "    count += 1\n"
        "    return os._exit(9) if count == 5 else real(self, target)\n"
        "pathlib.Path.replace = replace\n"
        "Run(pathlib.Path(sys.argv[1])).export(sys.argv[2])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(newer.folder), str(tmp_path / "out")])
    assert killed.returncode == 9
    assert newer.export(tmp_path / "out").kept == ()
    newer.export(tmp_path / "other")
    assert contents(made.model) == contents(tmp_path / "other" / "HuesModel")


def test_nothing_half_made_is_left_when_it_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(run.folder, tmp_path / run.folder.name)
    damaged = Run(tmp_path / run.folder.name)
    (damaged.folder / "bestModel.onnx").write_bytes(b"no network")
    with pytest.raises(MBError, match="ONNX"):
        damaged.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- the doors -------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MB_WORKSPACE", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_line_magic("load_ext", "mb_jupyter")
    yield shell
    shell.run_line_magic("unload_ext", "mb_jupyter")
    InteractiveShell.clear_instance()


def test_the_magic_exports_the_named_run_or_the_latest(shell: InteractiveShell, tmp_path: Path) -> None:
    run = write_run(tmp_path)
    latest = shell.run_line_magic("mb_export", "--to 'my projects'")
    assert latest.folders == ("HuesModel", "HuesConsoleApp")
    assert latest.root == tmp_path / "my projects"
    named = shell.run_line_magic("mb_export", f"{run.handle} --to there --name 'Rot & Blau' --with api")
    assert named.folders == ("RotBlauModel", "RotBlauConsoleApp", "RotBlauApi")
    assert (tmp_path / "there" / "RotBlauApi" / "Dockerfile").is_file()


def test_mistakes_in_the_line(shell: InteractiveShell, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="invalid choice"):
        shell.run_line_magic("mb_export", "--to x --with java")
    with pytest.raises(MBError):
        shell.run_line_magic("mb_export", "--to x")
    assert not (tmp_path / "x").exists()


def test_the_wheel_carries_every_template(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(PACKAGE.parent)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if "/export/templates/" in name}
    templates = (PACKAGE / "export" / "templates").rglob("*")
    assert shipped == {path.relative_to(PACKAGE.parent).as_posix() for path in templates if path.is_file()}
