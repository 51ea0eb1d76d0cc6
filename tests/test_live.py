"""The view of a training is a function of what is known at one moment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mb_jupyter.backends import RunState, Status
from mb_jupyter.display import Durable, Shown
from mb_jupyter.live import HOW_TO_STOP, Live, Moment, render
from mb_jupyter.liveclock import STOPPING, left

EVIL = "<img src=x onerror=alert(1)>"


def moment(state: RunState = RunState.RUNNING, epochs: int = 0, **values: Any) -> Moment:
    record = {
        "handle": "local://a/b",
        "experiment": EVIL,
        "config": {"epochs": 40},
        "check_seconds": 3,
        "counts": {"a": 5, "b": 4},
    }
    stages = ({"stage": "start", "started": 0.0, "seconds": 4.0}, {"stage": "epoch", "started": 0.0, "seconds": 61.0})
    status = Status(
        state,
        stage="epoch",
        done=epochs,
        total=40,
        fraction=0.25,
        eta_seconds=125.0,
        stages=stages,
        started=100.0,
        updated=165.0,
        error=values.pop("error", None),
    )
    records: list[dict[str, Any]] = [
        {"event": "start", "reason": EVIL, "device": "cpu", "precision": "bf16", "pictures": {"train": 7, "test": 2}}
    ]
    records += [
        {"event": "epoch", "phase": "finetune" if n else "features", "epoch": n, "train_loss": 1.5,
         "train_accuracy": 0.5, "validation_loss": 1.25, "validation_accuracy": 0.75, "seconds": 2.0, "best": n == 1}
        for n in range(epochs)
    ]  # fmt: skip
    return Moment(record, values.pop("folder", Path("/nowhere")), status, [*records, *values.pop("more", [])], **values)


def test_text_and_page_say_the_same():
    shown = render(moment(epochs=3, log_line=EVIL, notes=[EVIL]), hint=HOW_TO_STOP)
    assert shown.text.splitlines()[1] == HOW_TO_STOP
    plain = re.sub(r"<[^>]+>", " ", shown.html)
    for said in (
        "running", "run local://a/b", "check 3 s", "start 4 s", "epoch 3/40 1:01", "evaluate", "25 % done",
        "about 2 min left", "cpu, bf16", "9 pictures in 2 classes, 7 to train, 2 held out",
        "Train loss", "1.5000", "75.0 %", "best so far",
    ):  # fmt: skip
        assert said in shown.text, said
        assert said in plain, said
    assert "[epoch" in shown.text, "the stage that goes on is marked by more than its style"


def test_names_are_data():
    for state in RunState:
        html = render(moment(state, 2, log_line=EVIL, notes=[EVIL], error={"cause": EVIL, "fix": EVIL})).html
        assert EVIL not in html
        assert "&lt;img" in html


def test_many_epochs_fold():
    running = render(moment(epochs=40))
    assert running.text.count("\nfeatures") == 0
    assert "(28 earlier epochs: run.metrics)" in running.text
    assert running.html.count("<tr>") == 13
    ended = render(moment(RunState.COMPLETED, epochs=40))
    assert "<details" in ended.html and ended.html.count("<tr>") == 13 + 41 + 1, "the last, every, and the files"


def test_the_end_tells_the_proof_the_files_and_what_to_type(tmp_path):
    (tmp_path / "bestModel.onnx").write_bytes(b"x" * 2_500_000)
    (tmp_path / "report.json").write_bytes(b"x" * 1_500)
    result = {"event": "result", "test_accuracy": 0.9, "agreement": 0.995, "largest_difference": 2e-6}
    shown = render(moment(RunState.STOPPED, 2, folder=tmp_path, more=[result], headline="accuracy 90% (85 to 94)"))
    for said in (
        "accuracy 90% (85 to 94)",
        "the same answer as torch for 99.5 % of the test images",
        "largest difference of a probability is 2e-06",
        "bestModel.onnx (2.5 MB), report.json (1.5 kB)",
        "Next: %mb_evaluate   %mb_predict IMAGE",
    ):
        assert said in shown.text
    assert "left" not in shown.text and "log:" not in shown.text
    assert "Accuracy 90.0 % on test images." in render(moment(RunState.COMPLETED, more=[result])).text


def test_a_failure_says_cause_fix_and_where_more_is():
    shown = render(moment(RunState.FAILED, 2, error={"cause": "No.", "fix": "Do.", "alternative": "Else."}))
    assert shown.text.startswith(f"{EVIL}: failed, 1:05\nrun local://a/b\nNo.\nfix: Do.\nor: Else.\nmore: %mb_why\n")
    assert "Next:" not in shown.text
    assert "verify" not in shown.text, "what it never came to is not shown"


def test_a_record_with_gaps_is_shown_all_the_same():
    gaps = [{"event": "epoch", "phase": "finetune", "epoch": 1}, {"event": "epoch", "epoch": 2}, {"event": "result"}]
    for state in RunState:
        assert render(moment(state, more=gaps)).text


def test_an_epoch_done_twice_stands_once():
    again = {"event": "epoch", "phase": "finetune", "epoch": 1, "train_loss": 9.0}
    epochs = moment(epochs=2, more=[again]).epochs
    assert [epoch["epoch"] for epoch in epochs] == [0, 1]
    assert epochs[1]["train_loss"] == 9.0


def test_curves_are_drawn_anew_only_for_a_new_epoch(monkeypatch):
    drawn: list[int] = []

    def draw(epochs: list[Any]) -> bytes:
        drawn.append(len(epochs))
        return b"png"

    monkeypatch.setattr("mb_jupyter.plots.metric_curves", draw)
    live = Live("x")
    assert live.curves(moment(epochs=1)) == ""
    for count in (2, 2, 3, 3):
        assert 'alt="Loss and accuracy' in live.curves(moment(epochs=count))
    assert drawn == [2, 3]


@pytest.mark.parametrize("state", [RunState.STARTING, RunState.RUNNING])
def test_a_start_says_what_is_waited_for(state):
    record = {"handle": "local://a/b", "experiment": "a", "config": {}}
    shown = render(Moment(record, Path(), Status(state)))
    assert ("waiting for the training program to start" in shown.text) == (state is RunState.STARTING)
    assert "[start]" in shown.text


def test_of_two_best_epochs_the_later_one_is_marked():
    better = {"event": "epoch", "phase": "finetune", "epoch": 2, "validation_accuracy": 0.8, "best": True}
    assert render(moment(epochs=2, more=[better])).text.count("best so far") == 1
    assert re.search(r"^2 .*80\.0 % +0\.0  best$", render(moment(RunState.COMPLETED, 2, more=[better])).text, re.M)


def test_the_stages_are_those_of_the_recipe():
    shown = render(moment())
    assert "check 3 s > start 4 s > features > head > [epoch 1/40" in shown.text
    assert shown.text.splitlines()[2].endswith("> calibrate > evaluate > export > verify")
    plan = {"event": "plan", "epochs": 5}
    assert "[epoch 3/5 " in render(moment(epochs=3, more=[plan])).text, "as many as the time allows"
    frozen = moment()
    frozen.record["config"]["recipe"] = "features"
    early = Status(RunState.RUNNING, stage="head")
    assert "epoch" not in render(Moment(frozen.record, frozen.folder, early)).text


def test_why_there_was_no_fine_tuning_is_said():
    left_out = {"event": "left out", "stage": "epoch", "code": "recipe_features"}
    assert "Without fine-tuning: the recipe is features." in render(moment(more=[left_out])).text


def test_a_view_that_may_outlive_its_process_says_its_time_and_how_to_attach(zone):
    zone("Europe/Berlin")
    for state in (RunState.STARTING, RunState.RUNNING):
        shown = render(moment(state, now=1795944664.0))
        assert (
            shown.text.splitlines()[-1] == "As of 10:31:04 CET. If this time stands still, run %mb_attach local://a/b"
        )
        assert "As of 10:31:04 CET. If this time stands still, run %mb_attach local://a/b" in shown.html
    for state in (RunState.COMPLETED, RunState.STOPPED, RunState.FAILED, RunState.CANCELED):
        assert "As of" not in render(moment(state, now=1795944664.0)).text, "what has ended stays as it is"


def standing(state: RunState = RunState.RUNNING, **values: Any) -> Moment:
    """Return a moment of a run whose program has a clock of its own; it said so at 1000 o'clock."""
    told = {"stage": "verify", "fraction": 0.5, "updated": 1000.0, "seconds": 50.0, "stage_seconds": 7.0, **values}
    now, least = told.pop("now", 1000.0), told.pop("least", 0.0)
    told.setdefault("stages", ({"stage": "verify", "started": 1.0, "seconds": None},))
    record = {"handle": "local://a/b", "experiment": "a", "config": {}}
    return Moment(record, Path("/nowhere"), Status(state, **told), notes=(), now=now, least=least)


def test_the_clock_is_the_programs_own_and_goes_on_between_two_words_of_it():
    assert "a: running, 50 s" in render(standing()).text
    shown = render(standing(now=1004.0)).text
    assert "a: running, 54 s" in shown and "[verify 11 s]" in shown


@pytest.mark.parametrize("now", [-5e6, 5e6])
def test_a_system_clock_that_is_set_moves_no_run(now):
    assert 50 <= standing(now=now).seconds <= 50 + 60


def test_the_clock_of_an_ended_run_is_what_the_program_said():
    for state in (RunState.COMPLETED, RunState.FAILED, RunState.CANCELED):
        assert standing(state, now=9000.0).seconds == 50


def test_the_clock_never_shows_less_than_it_did():
    texts: list[str] = []

    class Kept(Durable):
        def show(self, shown: Shown) -> None:
            texts.append(shown.text)

    live = Live("a", Kept(), watched=True)
    for seconds, state in ((50.0, RunState.RUNNING), (45.0, RunState.RUNNING), (49.0, RunState.COMPLETED)):
        live.update(standing(state, seconds=seconds, message=str(seconds)))
        live._shown_at = -10.0
    assert [text.splitlines()[0] for text in texts] == ["a: running, 50 s", "a: running, 50 s", "a: completed, 50 s"]


def test_the_stages_around_a_run_elsewhere_count_too():
    stages = (
        {"stage": "upload", "started": 0.0, "seconds": 100.0}, {"stage": "queue", "started": 100.0, "seconds": 200.0},
        {"stage": "verify", "started": 900.0, "seconds": None},
    )  # fmt: skip
    assert standing(stages=stages).seconds == 350
    waits = standing(RunState.STARTING, seconds=None, stage="queue", now=1010.0, stages=(
        stages[0], {"stage": "queue", "started": 1000.0, "seconds": None})).seconds  # fmt: skip
    assert waits == 110


def test_a_run_that_goes_on_is_never_wholly_done():
    for fraction in (0.994, 0.999, 1.0):
        shown = render(standing(fraction=fraction, eta_seconds=0.0)).text
        assert "99 % done" in shown and "100 %" not in shown and "about 0 s" not in shown


def test_time_left_is_said_only_when_it_is_known():
    assert "50 % done, time left not known yet" in render(standing()).text
    assert "50 % done, about 10 min left" in render(standing(eta_seconds=604.0)).text
    assert "50 % done, up to about 10 min left" in render(standing(eta_seconds=604.0, eta_at_most=True)).text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "a few seconds left"), (9, "about 10 s left"), (52, "about 50 s left"), (57, "about 1 min left"),
     (584, "about 10 min left"), (7300, "about 2 h left"), (8000, "about 2 h 15 min left")],
)  # fmt: skip
def test_time_left_is_no_more_exact_than_it_is_known(seconds, said):
    assert left(seconds) == said


def test_a_stop_that_was_heard_is_said_until_the_end_and_not_after_it():
    shown = render(standing(stopping=True, message="Scoring.")).text
    assert f"{STOPPING}\nScoring.\n" in shown
    assert "Stopping" not in render(standing(RunState.STOPPED, stopping=True)).text


def test_the_stages_to_come_are_those_that_the_program_planned():
    stages = ({"stage": "start", "started": 1.0, "seconds": 4.0}, {"stage": "verify", "started": 1.0, "seconds": None})
    shown = render(standing(stages=stages, planned=("verify", "learning curve", "int8"))).text
    assert "check 0 s > start 4 s > [verify 7 s] > learning curve > int8\n" in shown
