"""The plan of a run: what it says is left, and when it says that it does not know."""

from __future__ import annotations

import json

import pytest

from mb_jupyter.training import pace
from mb_jupyter.training.outlook import ALMOST, Outlook, as_status


def planned(**paces: list[float]) -> Outlook:
    outlook = Outlook(paces)
    outlook.plan("features", 100, 0.2)
    outlook.plan("evaluate", 50, 0.2)
    outlook.plan("verify", 100, 0.1, fixed=10)
    return outlook


def test_before_anything_is_measured_the_time_left_is_not_known():
    outlook = planned()
    outlook.begin("features")
    told = as_status(outlook, 0.0, 0.0, None, 600)
    assert told["eta_seconds"] is None and told["fraction"] == 0.0
    assert told["planned"] == ["features", "evaluate", "verify"]


def test_the_paces_of_earlier_runs_make_it_known_and_their_median_counts():
    outlook = planned(features=[2.0, 2.0, 50.0], evaluate=[0.5], verify=[1.0])
    outlook.begin("features")
    assert as_status(outlook, 0.0, 0.0, None, 600)["eta_seconds"] == pytest.approx(40 + 5 + 20)


def test_a_stage_that_is_over_corrects_what_is_expected_of_the_later_ones():
    outlook = planned(features=[1.0], evaluate=[1.0], verify=[1.0])
    outlook.begin("features")
    outlook.end(60.0)  # three times as long as ever before: the machine is busy
    outlook.begin("evaluate")
    assert as_status(outlook, 60.0, 0.0, None, 600)["eta_seconds"] == pytest.approx(3 * 30, rel=0.1)
    assert outlook.found == {"features": 3.0}


def test_a_stage_that_is_taken_out_of_the_plan_is_gone_unless_it_was_begun():
    outlook = planned()
    outlook.begin("features")
    for name in ("features", "evaluate"):
        outlook.plan(name, 0, 0)
    assert outlook.planned == ["features", "verify"]


def test_a_first_run_knows_after_its_first_real_stage():
    outlook = planned()
    outlook.begin("features")
    outlook.end(40.0)
    outlook.begin("evaluate")
    assert as_status(outlook, 40.0, 0.0, None, 600)["eta_seconds"] == pytest.approx(2 * 30, rel=0.1)


def test_what_was_made_ready_before_the_work_says_nothing_of_its_pace():
    outlook = planned(features=[1.0], evaluate=[1.0], verify=[1.0])
    outlook.begin("features")
    outlook.prepared(300.0)  # engines were tried out
    assert as_status(outlook, 310.0, 310.0, 0.5, 600)["eta_seconds"] == pytest.approx(10 + 30)
    outlook.end(320.0)
    assert outlook.found == {"features": 1.0}
    outlook.begin("evaluate")
    assert as_status(outlook, 320.0, 0.0, None, 600)["eta_seconds"] == pytest.approx(30)


def test_what_was_kept_from_an_earlier_run_was_not_done_now():
    outlook = planned(features=[1.0], evaluate=[1.0], verify=[1.0])
    outlook.begin("features")
    outlook.plan("features", 20, 0.2)
    outlook.prepared(0.0, 0.8)
    assert as_status(outlook, 0.0, 0.0, 0.8, 600)["eta_seconds"] == pytest.approx(4 + 30)
    assert as_status(outlook, 20.0, 20.0, 0.9, 600)["eta_seconds"] == pytest.approx(20 + 30), "half of it in 20 seconds"


def test_what_was_cut_short_or_not_done_teaches_nothing():
    outlook = planned()
    outlook.begin("features")
    outlook.end(1.0, whole=False)
    outlook.plan("evaluate", 0, 0.2)
    outlook.begin("evaluate")
    outlook.end(0.1)
    assert outlook.found == {}


def test_a_stage_goes_by_its_own_pace_once_it_has_one():
    outlook = planned(features=[1.0], evaluate=[1.0], verify=[1.0])
    outlook.begin("verify")
    assert as_status(outlook, 100.0, 30.0, 0.5, 600)["eta_seconds"] == pytest.approx(30)


def test_a_stage_that_was_left_out_is_not_waited_for():
    outlook = planned(features=[1.0], evaluate=[1.0], verify=[1.0])
    outlook.begin("verify")
    assert as_status(outlook, 0.0, 0.0, None, 600)["eta_seconds"] == pytest.approx(20)


def test_time_left_stays_within_the_limit_but_for_what_must_come_after():
    outlook = planned(evaluate=[1.0], verify=[1.0])
    outlook = Outlook({"verify": [1.0]})
    outlook.expect("epoch", 1906.0)
    outlook.plan("verify", 100, 0.1)
    outlook.begin("epoch")
    assert as_status(outlook, 0.0, 0.0, None, 600.0)["eta_seconds"] == 600
    assert as_status(outlook, 600.0, 600.0, None, 0.0)["eta_seconds"] == pytest.approx(10)


def test_an_epoch_that_nobody_has_timed_is_not_known():
    outlook = Outlook({"verify": [1.0]})
    outlook.expect("epoch", 0.0, known=False)
    outlook.plan("verify", 100, 0.1)
    outlook.begin("epoch")
    assert as_status(outlook, 5.0, 0.0, None, 600.0)["eta_seconds"] is None


def test_epochs_that_may_end_early_are_a_bound():
    outlook = Outlook()
    outlook.expect("epoch", 100.0, most=True)
    outlook.begin("epoch")
    assert as_status(outlook, 1.0, 0.0, None, 600.0)["eta_at_most"] is True


def test_the_fraction_never_goes_back_and_is_whole_only_at_the_end():
    outlook = planned(features=[1.0], evaluate=[1.0], verify=[1.0])
    outlook.begin("verify")
    first = as_status(outlook, 1000.0, 21.0, 1.0, 600)["fraction"]
    assert first == ALMOST
    outlook.plan("verify", 10_000, 1)
    assert as_status(outlook, 1001.0, 1.0, None, 600)["fraction"] == first


def test_paces_are_kept_for_the_next_run_and_the_last_ones_count(tmp_path):
    file = pace.file_of(tmp_path / "paces", "this processor", 2, "resnet50", 224)
    assert pace.read(file) == {}
    for factor in range(1, 9):
        pace.add(file, {"features": float(factor), "verify": float("nan")})
    assert pace.read(file) == {"features": [4.0, 5.0, 6.0, 7.0, 8.0]}
    assert file != pace.file_of(tmp_path / "paces", "this processor", 2, "resnet50", 128)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b'{"paces": 3}', b'{"paces": {"features": ["x"]}}', b'{"paces": {"a": null}}', b"7"],
)
def test_a_damaged_file_of_paces_is_ignored(tmp_path, content):
    file = pace.file_of(tmp_path, "x")
    file.write_bytes(content)
    assert pace.read(file) == {}
    pace.add(file, {"features": 2.0})
    assert pace.read(file) == {"features": [2.0]}


def test_factors_that_cannot_be_are_left_out(tmp_path):
    file = pace.file_of(tmp_path, "x")
    file.write_text(json.dumps({"paces": {"features": [0, -1, 1e9, 1.5]}}))
    assert pace.read(file) == {"features": [1.5]}


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path):
    (tmp_path / "file").touch()
    pace.add(pace.file_of(tmp_path / "file", "x"), {"features": 2.0})


def test_a_stage_whose_count_leaves_most_of_it_out_goes_by_what_it_took_before():
    outlook = Outlook({"int8": [0.5]})
    outlook.plan("int8", 20, 0.1, fixed=18)
    outlook.begin("int8")
    # half of the images are through within a second; the timing that takes the rest has not begun
    assert as_status(outlook, 1.0, 1.0, 0.5, 600)["eta_seconds"] == pytest.approx(9)
    # and then all of them but one: the rest is not "one in twenty of what it took"
    assert as_status(outlook, 6.0, 6.0, 0.95, 600)["eta_seconds"] == pytest.approx(4)
