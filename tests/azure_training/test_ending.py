"""How a job ends, well or badly, and what comes down from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mb_jupyter.backends import RunState
from mb_jupyter.backends.azure import look
from mb_jupyter.errors import AzureError, TrainingFailed
from mb_jupyter.naming import in_azure
from tests.azure_emulator.emulator import Azure
from tests.azure_shell import fails, run

from .cells import FILES, PASSING, STALL, cell, choose, meanwhile, named, only_job, seen, the_run, told, until

# -- how it ends badly -----------------------------------------------------------------------------------


def test_a_traceback_is_told_in_a_line(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "crash")
    error = fails(shell, cell(), "LookupError: no such leaf", TrainingFailed)
    assert "UserError" in error.cause and "is not sent twice" in error.fix
    why = run(shell, "%mb_why")
    assert "Traceback (most recent call last)" in why and "raise LookupError" in why
    assert the_run(shell).state is RunState.FAILED and only_job(azure).status == "Failed"


def test_the_program_explains_itself(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "refuse")
    assert fails(shell, cell(), "weights of another network", TrainingFailed).fix == "Name the right file."


def test_a_second_attempt_is_not_blamed_for_the_first(azure, shell, monkeypatch, tmp_path):
    program = tmp_path / "program/training"
    program.mkdir(parents=True)
    (program / "__main__.py").write_text("import pathlib; exec(pathlib.Path(__file__).with_name('what').read_text())")
    told = '{"state": "failed", "error": {"cause": "The first cause.", "fix": "The first fix."}}'
    (program / "what").write_text(
        f"import sys; pathlib.Path(sys.argv[-1], 'status.json').write_text({told!r}); exit(2)"
    )
    monkeypatch.setattr("mb_jupyter.experiment.PROGRAM", program)
    fails(shell, cell(), "The first cause", TrainingFailed)
    (program / "what").write_text("raise LookupError('the second cause')")
    fails(shell, cell(), "LookupError: the second cause", TrainingFailed)
    first, second = azure.jobs.values()
    assert second.name == f"{first.name}-2"


def test_a_program_that_the_system_ends(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "die")
    error = fails(shell, cell(), "probably because the memory ran out", TrainingFailed)
    assert "batch_size: 32" in error.fix and "a size with more memory: %mb_compute" in error.alternative
    run(shell, cell())
    first, second = azure.jobs.values()
    assert (first.status, second.status) == ("Failed", "Completed") and second.name == f"{first.name}-2"
    assert "found a checkpoint" in the_run(shell).logs()
    assert not (the_run(shell).folder / "checkpoint").exists(), "the mark that blobfuse leaves for a folder is no file"


def test_a_node_that_dies_with_everything_on_it(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    with meanwhile(lambda: azure.kill(seen(azure, shell).name)):
        error = fails(shell, cell(), "The job failed in Azure", TrainingFailed)
    assert "status code -9" in error.cause and "run.url" in error.alternative


def test_an_image_that_cannot_be_built_brings_its_log(azure, shell):
    azure.image_build_log = "Step 3/7\nPackagesNotFoundError: no-such-package\nThe build failed.\n"
    error = fails(
        shell, cell("azure: {environment: 'azureml:mine:1'}"), "could not build the environment", TrainingFailed
    )
    assert "ImageBuildFailure" in error.cause and "azure: {environment}" in error.fix
    assert "PackagesNotFoundError: no-such-package" in run(shell, "%mb_why")


def test_a_long_wait_in_the_queue_is_explained(azure, shell, monkeypatch):
    azure.queue_held = True
    monkeypatch.setattr(look, "HINT_MINUTES", 0.0)

    def let_go() -> None:
        told("there may be no free machines of this size in the region")
        azure.queue_held = False

    with meanwhile(let_go):
        assert "completed" in run(shell, cell())


def test_no_node_comes(azure, shell):
    azure.queue_held = True
    error = fails(shell, cell("azure: {queue_minutes: 0.02}"), "No node was free for", TrainingFailed)
    assert "has cost nothing" in error.cause and "%mb_compute" in error.fix
    assert only_job(azure).status == "Canceled" and only_job(azure).attempts == 0


def test_the_time_is_up(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "deaf")
    monkeypatch.setattr("mb_jupyter.placement.SPARE_MINUTES", 0.05)
    error = fails(shell, cell("max_minutes: 0.05"), "reached its limit of 0.1 minutes", TrainingFailed)
    assert "max_minutes" in error.fix and only_job(azure).status == "Canceled"


# -- how it is ended -------------------------------------------------------------------------------------


def test_stop_keeps_the_best_and_cancel_does_not(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    with meanwhile(lambda: seen(azure, shell) and shell.run_line_magic("mb_stop", "")):
        assert "stopped" in run(shell, cell())
    assert only_job(azure).tags["mb_stop"] == "true" and the_run(shell).report.headline
    monkeypatch.setenv("STANDIN", "deaf")

    def cancel() -> None:
        until(lambda: len(azure.jobs) == 2)
        list(azure.jobs.values())[1].wait("Running")
        shell.run_line_magic("mb_cancel", "")

    with meanwhile(cancel):
        fails(shell, cell().replace("trees -o", "trees --fresh -o"), "was cancelled; no command uses", TrainingFailed)
    assert [job.status for job in azure.jobs.values()] == ["Completed", "Canceled"]


# -- what comes down, and from another machine -----------------------------------------------------------


@pytest.mark.parametrize("fault", [PASSING[1], STALL, {"kind": "truncate"}, {"status": 403, "times": 1}], ids=named)
@pytest.mark.usefixtures("impatient")
def test_a_download_that_is_disturbed_goes_on(azure, shell, fault):
    azure.fault("GET", "*blob.core.windows.net/*predictions.csv", **{"times": 2, **fault})
    run(shell, cell(epochs=1))
    assert the_run(shell).report.headline


@pytest.fixture
def elsewhere(azure: Azure, shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the handle of a run that has ended; this is another machine now."""
    run(shell, cell())
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere cache"))
    return str(the_run(shell).handle)


def test_another_machine_rebuilds_all_of_it(azure, shell, elsewhere, tmp_path):
    error = fails(shell, f"%mb_attach {elsewhere}", "none is chosen here yet", AzureError)
    assert "%mb_workspace use ws" in error.fix
    choose(azure)
    before = the_run(shell)
    said = run(shell, f"%mb_attach {elsewhere} -o run")
    there = the_run(shell)
    assert "completed" in said and there.folder.is_relative_to(tmp_path / "elsewhere")
    assert there.metrics.equals(before.metrics) and there.report.headline == before.report.headline
    for name in FILES - {"log.txt"}:
        assert (there.folder / name).read_bytes() == (before.folder / name).read_bytes(), name
    assert there.logs() == before.logs() and len(azure.jobs) == 1
    assert "no job nonsense" in str(fails(shell, "%mb_attach azure://ws/nonsense", "There is no job", AzureError))


def test_a_name_that_azure_cannot_take(azure, shell, tmp_path, monkeypatch):
    """Here it is kept; what Azure gets instead is shown before, recorded, and leads back to the name."""
    there = in_azure("꽃-사진")
    plan = run(shell, cell().replace("trees -o run", "꽃-사진 -o run --dry-run"))
    assert f"azure.experiment {there}" in " ".join(plan.split()) and "Dry run of 꽃-사진" in plan
    run(shell, cell(epochs=1).replace("trees -o run", "꽃-사진 -o run"))
    before = the_run(shell)
    assert before.experiment == "꽃-사진" and before.record["azure"]["experiment"] == there
    assert before.handle == f"azure://ws/{there}-{before.id}" == f"azure://ws/{only_job(azure).name}"
    assert only_job(azure).given["experimentName"] == there and _folder_of(azure).isascii()
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "elsewhere"))
    choose(azure)
    run(shell, f"%mb_attach {before.handle} -o run")
    assert the_run(shell).folder == tmp_path / "elsewhere/꽃-사진" / before.id
    assert "1 run in experiment 꽃-사진" in run(shell, "%mb_runs 꽃-사진")


def _folder_of(azure: Azure) -> str:
    return str(only_job(azure).given["outputs"]["run"]["uri"])


def test_a_file_that_would_leave_the_folder_is_refused(azure, shell, elsewhere, tmp_path):
    choose(azure)
    azure.put_blobs(_folder_of(azure), {"sub/C:evil": b"evil"})
    error = fails(shell, f"%mb_attach {elsewhere}", "could leave the folder here", AzureError)
    assert "costs nothing more" in error.alternative
    assert not list(tmp_path.rglob("*evil*"))


def test_a_file_that_was_changed_there_is_not_believed(azure, shell, elsewhere):
    choose(azure)
    (kept,) = (value for name, value in azure.blobs(_folder_of(azure)).items() if name == "predictions.csv")
    azure.put_blobs(_folder_of(azure), {"predictions.csv": kept[::-1]})
    error = fails(shell, f"%mb_attach {elsewhere}", "predictions.csv is not in the workspace's storage as", AzureError)
    assert "--fresh" in error.fix


def test_a_file_that_is_missing_there_is_named(azure, shell, elsewhere):
    choose(azure)
    azure.remove_blobs(_folder_of(azure), "report.json")
    error = fails(shell, f"%mb_attach {elsewhere}", "but report.json of what it has left is not", AzureError)
    assert "costs nothing more" in error.alternative
