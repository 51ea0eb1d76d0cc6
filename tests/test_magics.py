"""The commands, in a real IPython shell; what a front end sees is in test_notebook.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mb_jupyter.backends import RunState
from mb_jupyter.errors import MBError, WorkspaceError
from tests.finished_run import write_run
from tests.magic_shell import open_shell, run
from tests.series import write_series
from tests.standin import move_in, write_pictures
from tests.tiny_model import COLOURS, members


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    move_in(tmp_path, monkeypatch)
    with open_shell(tmp_path, monkeypatch) as shell:
        yield shell


@pytest.fixture
def trees(shell: InteractiveShell, tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "trees")


def usage(shell: InteractiveShell, cell: str) -> str:
    """Return the usage mistake that a cell makes; a subclass would be shown with a traceback."""
    with capture_output(), pytest.raises(UsageError) as caught:
        shell.run_cell(cell).raise_error()
    assert type(caught.value) is UsageError
    return str(caught.value)


def test_a_look_with_groups(shell, tmp_path):
    write_series(tmp_path / "tiles", {"crack": 3, "fray": 3}, number=3)
    assert "group: '([^/]*\\d)_\\d+\\.\\w+$'  # 6 groups of 18 images" in run(shell, "%mb_data tiles")
    data = run_value(shell, "%mb_data tiles --group '([^/]*\\d)_\\d+\\.\\w+$'")
    assert data.split()["Group"].nunique() == 6
    with pytest.raises(MBError, match="`group` names the column 'day', but the images come from a folder"):
        shell.run_cell("%mb_data tiles -g 'column: day'").raise_error()


def test_a_cell_trains_and_binds_the_run(shell, trees):
    said = run(shell, "%%mb_train wood -o mine --epochs 3\ndata: ./trees\n")
    mine = shell.user_ns["mine"]
    assert (mine.state, mine.experiment, mine.config["epochs"]) == (RunState.COMPLETED, "wood", 3)
    assert "wood: epoch 3" in said and f"run {mine.handle}" in said
    assert said.count("Next: %mb_evaluate") == 1
    assert "mb_run" not in shell.user_ns


def test_a_line_trains_and_returns_the_run(shell, trees):
    said = run(shell, "%mb_train -d trees --epochs 1")
    assert said.count("Next: %mb_evaluate") == 1, "what the cell has shown is not shown again as its result"
    assert shell.user_ns["mb_run"].experiment == "trees"
    said = run(shell, "again = %mb_train -d trees --epochs 1")
    assert "Found the identical run" in said
    assert shell.user_ns["again"].handle == shell.user_ns["mb_run"].handle
    assert "Next: %mb_evaluate" in run(shell, "again")


def test_quiet_shows_nothing(shell, trees):
    assert run(shell, "%%mb_train -q --epochs 1\ndata: trees") == ""
    assert shell.user_ns["mb_run"].state is RunState.COMPLETED


def test_fresh_trains_anew(shell, trees):
    run(shell, "%%mb_train -o first --epochs 1\ndata: trees")
    run(shell, "%%mb_train -o second --epochs 1 --fresh\ndata: trees")
    assert shell.user_ns["first"].handle != shell.user_ns["second"].handle


def test_a_dry_run_shows_where_every_value_comes_from(shell, trees, tmp_path):
    (tmp_path / "more.yaml").write_text("patience: 2\n")
    shell.run_line_magic("config", "MBMagics.recipe = 'features'")
    shell.user_ns["folder"] = trees
    said = run(shell, "%%mb_train --dry-run -f more.yaml --max-minutes 3\ndata: {{folder}}\nseed: 4")
    lines = {line.split()[0]: line.split(maxsplit=2)[2:] for line in said.splitlines() if len(line.split()) > 2}
    assert lines["seed"] == ["line 3"]
    assert lines["patience"] == ["more.yaml, line 1"]
    assert lines["recipe"] == ["%config MBMagics"]
    assert lines["max_minutes"] == ["the line"]
    assert lines["epochs"] == ["default"]
    assert not (tmp_path / "kept").exists()
    assert "Nothing was changed" in run(shell, "%mb_train --dry-run -d trees")
    shell.run_line_magic("config", "MBMagics.recipe = None")


def test_an_experiment_of_any_script(shell, trees, tmp_path):
    trees.rename(tmp_path / "꽃 사진")
    run(shell, "%mb_train -d '꽃 사진' --epochs 1")
    mine = shell.user_ns["mb_run"]
    assert (mine.experiment, mine.handle) == ("꽃-사진", f"local://꽃-사진/{mine.id}")
    assert "Found the identical run" in run(shell, "%%mb_train 꽃-사진 -o again --epochs 1\ndata: 꽃 사진")
    run(shell, f"%mb_attach {mine.handle} -o same")
    assert shell.user_ns["same"].folder == shell.user_ns["again"].folder == mine.folder
    assert "1 run in experiment 꽃-사진" in run(shell, "%mb_runs 꽃-사진")
    assert complete(shell, "%mb_attach 꽃") == ["꽃-사진"]
    assert complete(shell, "%%mb_train\nexperiment: 꽃-") == ["꽃-사진"]
    assert "꽃-사진" in run(shell, "%mb_experiment list")
    assert "`experiment` cannot be `con`; con is a reserved name on Windows" in usage(shell, "%mb_train con -d trees")
    with pytest.raises(WorkspaceError, match="There is an experiment Wood, and wood differs only in capitals"):
        run(shell, "%mb_experiment create Wood")
        run(shell, "%mb_train wood -d '꽃 사진' --dry-run")


def test_backslashes_and_variables_on_the_line(shell, trees):
    with pytest.raises(MBError, match=r"There is no folder '.*C:\\Users\\me\\flowers'"):
        run(shell, r"%mb_data C:\Users\me\flowers")
    shell.user_ns["folder"] = str(trees)
    for word in ("$folder", "${folder}", "{folder}", "$folder/oak"):
        said = f"`{word}`: write {{{{folder}}}} to insert the variable `folder`."
        assert said in usage(shell, f"%mb_data {word}")
        assert said in usage(shell, f"%mb_train -d {word}")
    trees.rename(trees.with_name("$folder"))
    assert "30 pictures" in run(shell, "%mb_data $folder")


def test_mistakes_are_usage_errors(shell, trees):
    assert usage(shell, "%%mb_train\nepoch: 3\nseed: x").splitlines()[:2] == [
        "line 2: there is no setting `epoch`; did you mean `epochs`?",
        "line 3: `seed` cannot be `x`; allowed is a whole number from 0 to 4294967295.",
    ]
    assert "the line: `epochs` cannot be `two`" in usage(shell, "%mb_train -d trees --epochs two")
    assert "unrecognized arguments: --epoch-count" in usage(shell, "%mb_train --epoch-count 3")
    assert "-o 2x: is not the name of a variable" in usage(shell, "%mb_train -d trees -o 2x")
    assert "A quotation mark is not closed" in usage(shell, "%mb_data 'trees")
    assert "invalid choice: 'destroy'" in usage(shell, "%mb_workspace destroy")


def test_an_error_of_the_training_is_short(shell, trees, monkeypatch):
    monkeypatch.setenv("STANDIN", "bug")
    with capture_output() as captured:
        result = shell.run_cell("%%mb_train\ndata: trees")
    assert type(result.error_in_exec).__name__ == "TrainingFailed"
    shown = captured.stdout[captured.stdout.index("TrainingFailed: ") :]
    assert len(shown.strip().splitlines()) <= 6
    assert shell.user_ns["mb_run"].state is RunState.FAILED
    run(shell, "%mb")  # where there is no report, the panel says so: that is no error
    why = run(shell, "%mb_why")
    assert "Traceback: a bug" in why and "the last line of the log" in why and "log.txt" in why


def test_why_a_run_failed_in_another_kernel(shell, trees, monkeypatch):
    monkeypatch.setenv("STANDIN", "refuse")
    with capture_output():
        shell.run_cell("%%mb_train\ndata: trees")
    monkeypatch.setattr(MBError, "latest", None)
    shell.run_line_magic("unload_ext", "mb_jupyter")
    shell.run_line_magic("load_ext", "mb_jupyter")
    why = run(shell, "%mb_why")
    assert "is failed" in why and "The weights of another network." in why and "the last line of the log" in why


def test_runs_are_listed_stopped_and_canceled(shell, trees, monkeypatch):
    assert "0 runs" in run(shell, "%mb_runs")
    monkeypatch.setenv("STANDIN", "slow")
    from mb_jupyter import train

    with capture_output():
        first = train(data="trees", experiment="one", wait=False)
        second = train(data="trees", experiment="two", wait=False)
    with capture_output(), pytest.raises(WorkspaceError, match="2 runs go on"):
        shell.run_cell("%mb_stop").raise_error()
    assert f"{first.handle} was asked to stop" in run(shell, "%mb_stop one")
    assert first.wait(120).state is RunState.STOPPED
    assert "is cancelled." in run(shell, "%mb_cancel")
    assert second.state is RunState.CANCELED
    for command in ("%mb_stop", "%mb_cancel"):
        assert f"{first.handle} had already ended; it is stopped." in run(shell, f"{command} {first.id}")
    listed = run(shell, "%mb_runs")
    assert first.handle in listed and "stopped" in listed and "100.0 %" in listed and "cancelled" in listed
    assert second.handle not in run(shell, "%mb_runs one")
    assert run(shell, "%mb_runs one ;") == ""
    assert "1 run in experiment one" in run(shell, "%mb_experiment show one")
    assert "The experiment three is registered" in run(shell, "%mb_experiment create three")
    assert "three" in run(shell, "%mb_experiment list")
    assert "needs the name of an experiment" in usage(shell, "%mb_experiment create")
    with capture_output(), pytest.raises(MBError, match="a/b"):
        shell.run_cell("%mb_experiment create a/b").raise_error()
    shutil.rmtree(first.folder.parents[1] / "three")
    assert run(shell, "%mb_experiment list").count("\n") >= 3
    assert "2 experiments" in run(shell, "%mb_workspace")
    said = run(shell, f"%mb_attach {first.id} -o back")
    assert said.count("Next: %mb_evaluate") == 1
    assert "one: features" not in said, "what ended long ago is not told as news"
    assert shell.user_ns["back"].handle == first.handle
    assert "100.0" in run(shell, f"%mb_evaluate {first.handle}")


def test_an_experiment_is_used_and_deleted(shell, trees, monkeypatch):
    run(shell, "%mb_experiment use later")
    run(shell, "%%mb_train\ndata: trees\nepochs: 1")
    assert shell.user_ns["mb_run"].experiment == "later"
    kept = shell.user_ns["mb_run"].folder
    run(shell, "%%mb_train named\ndata: trees\nepochs: 1")
    assert shell.user_ns["mb_run"].experiment == "named"
    with capture_output(), pytest.raises(MBError, match="Nobody is there"):
        shell.run_cell("%mb_experiment delete later").raise_error()
    assert kept.exists()
    assert "deleted, with 1 run." in run(shell, "%mb_experiment delete later -y")
    assert not kept.parent.exists() and [path.name for path in kept.parents[1].iterdir()] == ["named"]
    with capture_output(), pytest.raises(WorkspaceError, match="no experiment later"):
        shell.run_cell("%mb_experiment delete later -y").raise_error()
    monkeypatch.setenv("STANDIN", "slow")
    run(shell, "import mb_jupyter\nmb_run = mb_jupyter.train(data='trees', experiment='named', fresh=True, wait=False)")
    with capture_output(), pytest.raises(WorkspaceError, match="goes on"):
        shell.run_cell("%mb_experiment delete named -y").raise_error()
    shell.user_ns["mb_run"].cancel()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("local://one/20200101-000000-abcd", "There is no run local://one/20200101-000000-abcd"),
        ("local://../../etc", "There is no run"),
        ("azure://w/j", "The job j is in the Azure workspace w; none is chosen here yet"),
        ("moon://w/j", "a handle begins with local:// or azure://"),
        ("nothing", "There is no run nothing"),
        ("20200101-000000-abcd", "There is no run 20200101-000000-abcd"),
    ],
)
def test_a_run_that_is_not_there(shell, name, said):
    with capture_output(), pytest.raises(MBError, match=said):
        shell.run_cell(f"%mb_attach {name}").raise_error()


def test_paths_are_data(shell, tmp_path, monkeypatch):
    names = ["a b's", "ü $HOME {x}", "<img src=x onerror=alert(1)>", "a;", "more (2"]
    for name in names:
        write_pictures(tmp_path / name, each=3)
    assert repr(run_value(shell, '%mb_data "a b\'s"')).endswith("9 pictures in 3 classes>")
    assert run_value(shell, "%mb_data a\\ b\\'s").root == tmp_path / names[0]
    assert run_value(shell, "%mb_data ü $HOME {x}").root == tmp_path / names[1]
    shell.user_ns["path"] = tmp_path / names[2]
    assert run_value(shell, "%mb_data {{path}}").root == tmp_path / names[2]
    assert run_value(shell, "%mb_data 'a;'").root == tmp_path / names[3]
    assert run_value(shell, "%mb_data more (2").root == tmp_path / names[4], "a line is no Python"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_value(shell, "%mb_data ~/'a b\\'s'".replace("\\'", "'\"'\"'")).root == tmp_path / names[0]


def run_value(shell: InteractiveShell, line: str) -> Any:
    run(shell, f"value = {line}")
    return shell.user_ns["value"]


def test_a_table_is_data_too(shell, trees):
    import pandas as pd

    rows = [(str(path), path.parent.name) for path in sorted(trees.glob("*/*.png"))]
    shell.user_ns["frame"] = pd.DataFrame(rows, columns=["ImageSource", "Label"])
    assert len(run_value(shell, "%mb_data {{frame}}")) == 30
    run(shell, "%%mb_train wood --epochs 1\ndata: {{frame}}")
    assert shell.user_ns["mb_run"].record["data"] == "a table of 30 pictures"


def test_predict_takes_the_last_run_a_named_one_or_a_file(shell, trees, tmp_path, monkeypatch):
    with capture_output(), pytest.raises(WorkspaceError, match="has a model yet"):
        shell.run_cell("%mb_predict trees/oak/0.png").raise_error()
    model = tmp_path / "model"
    model.mkdir()
    (model / "bestModel.onnx").write_bytes(members()["bestModel.onnx"])
    monkeypatch.setenv("STANDIN_MODEL", str(model / "bestModel.onnx"))
    run(shell, "%%mb_train --epochs 1\ndata: trees")
    prediction = run_value(shell, "%mb_predict trees/oak/0.png")
    assert set(prediction.Score) == set(COLOURS)
    assert run_value(shell, "%mb_predict -r trees trees/oak/0.png").Score == prediction.Score
    assert run_value(shell, f"%mb_predict -m {model} trees/oak/0.png").Score == prediction.Score
    shutil.copytree(trees / "oak", tmp_path / "two words")
    assert len(run_value(shell, "%mb_predict 'two words'")) == 10
    run(shell, "%mb_predict trees --to out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 31


@pytest.mark.parametrize(
    "cell",
    [
        "for f in [path, path]:\n    r = %mb_predict {{path}}",
        "if True:\n    r = %mb_predict {{path}}",
        "%%time\nr = %mb_predict {{path}}",
        "%%capture kept\nr = %mb_predict {{path}}\nr",
        "def ask():\n    return get_ipython().run_line_magic('mb_predict', '{{path}}')\nr = ask()",
    ],
    ids=["loop", "if", "time", "capture", "function"],
)
def test_a_command_within_other_code_gives_the_same_answer(shell, tmp_path, monkeypatch, cell):
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "mb_workspace"))
    made = write_run(tmp_path, each=2)
    shell.user_ns["path"] = str(tmp_path / "colours/red/00.png")
    said = run(shell, cell)
    assert shell.user_ns["r"].Score == made.predict(shell.user_ns["path"]).Score
    if "kept" in cell:
        (output,) = shell.user_ns["kept"].outputs
        assert "Model: hues" in output.data["text/plain"] and "Model: hues" not in said


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody watch a machine on which everything takes seconds."""
    monkeypatch.setattr("mb_jupyter.magics.command.somebody_there", lambda: True)
    monkeypatch.setattr("mb_jupyter.magics.command.time", SimpleNamespace(monotonic=count().__next__))


def test_a_dry_run_says_how_far_it_is(shell, trees, slow):
    said = run(shell, "%%mb_train --dry-run\ndata: trees")
    assert "looking at the pictures of trees: 30 of 30" in said and "Nothing was changed" in said


def test_a_folder_is_scored_with_progress(shell, trees, tmp_path, slow):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/bestModel.onnx").write_bytes(members()["bestModel.onnx"])
    assert "scoring the images: 7 of 30" in run(shell, "%mb_predict -m model trees")


def test_a_repetition_says_what_it_does(shell, trees):
    run(shell, "%%mb_train --epochs 1\ndata: trees")
    said = run(shell, "%mb_rerun")
    assert said.index("trees: looking at the pictures of trees") < said.index("trees: start")
    assert "Every figure and every answer is the same, of " in said
    again = shell.user_ns["_"].again
    assert f"Repeats {shell.user_ns['mb_run'].handle}." in said and again.handle in said


def test_the_doctor_is_called(shell):
    assert run_value(shell, "%mb_doctor").checks


def test_help_names_every_option(shell):
    said = run(shell, "%mb_train --help")
    for option in ("--out", "--backend", "--file", "--max-minutes", "--no-wait", "--dry-run", "--fresh", "-q", "-y"):
        assert option in said
    assert "--help" in run(shell, "print(get_ipython().find_line_magic('mb_predict').__doc__)")


def complete(shell: InteractiveShell, text: str) -> list[str]:
    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(text, len(text))]


def test_tab(shell, trees):
    run(shell, "%%mb_train wood --epochs 1\ndata: trees")
    identity = shell.user_ns["mb_run"].id
    assert complete(shell, "%mb_train --max-m") == ["--max-minutes"]
    assert complete(shell, "%mb_train -b ") == ["local", "azure"]
    assert complete(shell, "%mb_attach ") == ["wood", identity]
    assert complete(shell, "x = %mb_evaluate w") == ["wood"]
    assert complete(shell, "%mb_predict --run w") == ["wood"]
    for command in ("%mb_export ", "%mb_rerun ", "%mb_compare ", "%mb_compare wood "):
        assert complete(shell, command) == ["wood", identity]
    assert complete(shell, "%mb_experiment ") == ["list", "show", "use", "create", "delete", "wood"]
    assert complete(shell, "%mb_experiment show ") == ["wood"]
    assert complete(shell, "%%mb_train\nexperiment: w") == ["wood"]
    assert complete(shell, "%%mb_train\npat") == ["patience: "]
    assert complete(shell, "%%mb_train\nepochs: 3\narchitecture: resnet1") == ["resnet101", "resnet152", "resnet18"]
    assert complete(shell, "%%mb_train\nrecipe: f") == ["features", "finetune"]
    assert "trees/" in complete(shell, "%mb_data tr")
    shell.user_ns["patient"] = 1
    assert complete(shell, "patie") == ["patient"]


def test_a_damaged_record_hides_no_other_run(shell, trees):
    run(shell, "%%mb_train --epochs 1\ndata: trees")
    broken = shell.user_ns["mb_run"].folder.with_name("20990101-000000-abcd")
    broken.mkdir()
    (broken / "run.json").write_text(json.dumps([]))
    said = run(shell, "%mb_runs")
    assert "unreadable" in said and shell.user_ns["mb_run"].handle in said
    assert "Found the identical run" in run(shell, "%%mb_train --epochs 1\ndata: trees")
