"""The setting ``group`` through the front doors: Dataset, configuration, dry run, identity, the program's own scan."""

from __future__ import annotations

import csv
import html
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mb_jupyter import Dataset, TrainConfig
from mb_jupyter.config import resolve
from mb_jupyter.errors import ConfigError, DataError
from mb_jupyter.experiment import Experiment
from tests.series import Shot, write_list, write_series

PATTERN = r"(tile_\d+)_\d"
PACKAGE = Path(__file__).parent.parent / "mb_jupyter"


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Shot]]:
    root = tmp_path_factory.mktemp("series")
    return root / "tiles", write_series(root / "tiles", {"crack": 4, "fray": 4}, number=3)


def config(**values: object) -> TrainConfig:
    return resolve(values).config


def test_a_dataset_with_groups(series: tuple[Path, list[Shot]], tmp_path: Path) -> None:
    root, written = series
    data = Dataset(root, group=PATTERN)
    assert data.split().groupby("Group")["Split"].nunique().max() == 1
    assert data.split()["Group"].nunique() == 8 and data.plan_split() == {"train": 12, "validation": 6, "test": 6}
    again = Dataset(root, group=PATTERN)
    assert again.pictures == data.pictures and again.fingerprint == data.fingerprint
    assert Dataset(root).fingerprint != data.fingerprint
    table = pd.DataFrame([(str(root / s.path), s.label, int(s.object[-3:]), s.site) for s in written],
                         columns=["ImageSource", "Label", "group", "site"])  # fmt: skip
    from_table = Dataset(table)
    assert from_table.fingerprint == data.fingerprint
    assert list(from_table.split()) == ["ImageSource", "Label", "Split", "Sha256", "Group", "Slice.site"]
    data.write_split(tmp_path / "split.csv", seed=0, validation_fraction=0.15, test_fraction=0.2)
    assert pd.read_csv(tmp_path / "split.csv", dtype=str).equals(data.split().astype(str))
    with pytest.raises(DataError, match="`group` matches no image: 'patient' is found in no path"):
        Dataset(root, group="patient")


def test_another_grouping_is_another_run(series: tuple[Path, list[Shot]], tmp_path: Path) -> None:
    from mb_jupyter.experiment import _identity, look

    root, written = series
    lists = []
    for number, group in enumerate(("object", "site", "object")):
        (tmp_path / f"{number}").mkdir()
        rows = [shot._replace(path=str(root / shot.path), object=getattr(shot, group)) for shot in written]
        lists.append(write_list(tmp_path / f"{number}/list.csv", rows))
    configs = [config(data=str(path), experiment="tiles") for path in lists]
    first, other, same = (_identity(each, look(each)) for each in configs)
    assert first == same != other
    lists[2].write_text(lists[2].read_text().replace("site 1", "site 5"))
    assert _identity(configs[2], look(configs[2])) != same  # the report would say something else


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("group: '(tile'", "line 3: `group` cannot be `(tile`; it is no regular expression (missing ), unterminated "
         "subpattern at position 0). allowed is a regular expression for the paths of images, folder, burst, "),
        ("group: ''", "line 3: `group` cannot be ``; allowed is"),
        ("group: column: patient", "line 3: is not YAML: mapping values are not allowed here; put a value with a colon "
         "into quotes."),
        ('group: "\\d+"', "line 3: is not YAML: found unknown escape character 'd'; put it into single quotes, where a "
         "backslash is itself."),
        ("group: {columns: patient}", "line 3: `group` is a mapping; allowed is a regular expression"),
        ("group: [a, b]", "line 3: `group` is a list; allowed is a regular expression"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_told_with_its_line(body: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"experiment": "x"}, f"data: tiles\n{body}")
    assert said in caught.value.cause


@pytest.mark.parametrize("written", ["'column: (patient'", "column:patient", r"(.*)_\d+\.jpg", "folder", "'[a-z]+_'"])
def test_what_may_stand_in_a_cell(written: str) -> None:
    assert resolve({"experiment": "x"}, f"data: tiles\ngroup: {written}").config.group == written.strip("'")


@pytest.mark.parametrize("written", ["{column: day 2}", "\n  column: day 2", "'column: day 2'"])
def test_a_column_in_a_cell(written: str) -> None:
    assert resolve({"experiment": "x"}, f"data: list.csv\ngroup: {written}").config.group == "column: day 2"


def test_the_line_of_the_data_report_can_be_pasted(series: tuple[Path, list[Shot]], tmp_path: Path) -> None:
    root, _ = series
    hostile = tmp_path / "tiles"
    shutil.copytree(root, hostile)
    (hostile / "crack").rename(hostile / "<img src=x onerror=alert(1)>")
    bundle = Dataset(hostile)._repr_mimebundle_()
    text, page = bundle["text/plain"], bundle["text/html"]
    assert "24 images may show only 8 objects, several times each" in text
    (line,) = [line for line in text.splitlines() if line.startswith("    group: ")]
    assert html.escape(line.strip()) in page and "<img src=x" not in page and "white-space:pre-wrap" in page
    resolved = resolve({"experiment": "tiles"}, f"data: {hostile}\n{line.strip()}")
    plan = Experiment.local("tiles").plan(resolved)
    assert "24 images are in 8 groups" in plan._repr_mimebundle_()["text/plain"]
    unset = Experiment.local("tiles").plan(resolve({"experiment": "tiles"}, f"data: {hostile}"))
    assert line.strip() in unset._repr_mimebundle_()["text/plain"]


def test_the_dry_run_tells_the_groups(series: tuple[Path, list[Shot]]) -> None:
    root, _ = series
    resolved = resolve({"experiment": "tiles"}, f"data: {root}\ngroup: {PATTERN}")
    plan = Experiment.local("tiles").plan(resolved)
    text = plan._repr_mimebundle_()["text/plain"]
    assert PATTERN in text and "24 images are in 8 groups, given by the pattern" in text
    plain = Experiment.local("tiles").plan(resolve({"experiment": "tiles"}, f"data: {root}"))
    assert "the column Group, if there is one" in plain._repr_mimebundle_()["text/plain"]


def test_the_program_itself_finds_the_groups(series: tuple[Path, list[Shot]], tmp_path: Path) -> None:
    """As in Azure, where nobody has split the data before: the scan of training/parts.py."""
    root, _ = series
    settings = config(data=str(root), experiment="tiles", group=PATTERN).program_settings()
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom training import parts, record, settings\n"
        "values, data, output = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])\n"
        "parts.find(settings.Settings.from_dict(values), data, output, record.Recorder(output))\n"
    )
    arguments = [json.dumps(settings), str(root), str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    frame = Dataset(root, group=PATTERN).split()
    assert [row["Group"] for row in rows] == list(frame["Group"]) and len({row["Group"] for row in rows}) == 8
    assert [row["Split"] for row in rows] == list(frame["Split"])


def test_data_in_azure_have_no_columns() -> None:
    plan = resolve({"experiment": "x", "data": "azureml:land:1", "backend": "azure", "group": "column: site"})
    with pytest.raises(
        ConfigError, match="`group` names a column, but the images of azureml:land:1 come from a folder"
    ):
        Experiment.local("x").plan(plan)
