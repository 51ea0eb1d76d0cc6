"""The local backend with programs of ten lines: real processes, really killed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from mb_jupyter.backends import Job, RunState, Status, supervise
from mb_jupyter.backends.local import LocalBackend
from mb_jupyter.errors import WorkspaceError

PREAMBLE = """
import json, os, pathlib, sys, time
output = pathlib.Path(sys.argv[1])
def tell(**status):
    (output / "aside").write_text(json.dumps(status))
    (output / "aside").replace(output / "status.json")
def record(**values):
    with (output / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(values) + "\\n")
"""
FOREVER = "tell(state='running', stage='head', pid=os.getpid()); time.sleep(600)"


@pytest.fixture
def backend() -> LocalBackend:
    return LocalBackend()


Begin = Callable[..., Path]


@pytest.fixture
def begin(backend: LocalBackend, tmp_path: Path) -> Iterator[Begin]:
    """Return a function that starts a program and gives its folder; all of them are ended afterwards."""
    folders: list[Path] = []

    def start(program: str, folder: Path | None = None, **job: object) -> Path:
        code = tmp_path / f"program{len(folders)}" / "tenlines"
        code.mkdir(parents=True)
        (code / "__main__.py").write_text(PREAMBLE + program)
        if folder is None:
            folder = tmp_path / f"a run {len(folders)}"
            folder.mkdir()
        folders.append(folder)
        command = ("python", "-m", "tenlines", "{output}", "{data}")
        backend.submit(Job("ten lines", command, code, **job), folder)  # type: ignore[arg-type]
        return folder

    yield start
    for folder in folders:
        backend.cancel(folder)


def until(backend: LocalBackend, folder: Path, reached: Callable[[Status], object], seconds: float = 120) -> Status:
    end = time.monotonic() + seconds
    while not reached(status := backend.status(folder)):
        assert time.monotonic() < end, f"{status}\n{backend.log(folder)}"
        time.sleep(0.02)
    return status


def ended(backend: LocalBackend, folder: Path) -> Status:
    return until(backend, folder, lambda status: status.state.is_terminal)


def program_of(folder: Path) -> psutil.Process:
    return psutil.Process(json.loads((folder / "status.json").read_text())["pid"])


def test_a_program_runs_to_its_end(backend, begin, tmp_path):
    folder = begin(
        "record(event='epoch', epoch=1); print('said', flush=True); print('gone\\rseen', file=sys.stderr)\n"
        "here = pathlib.Path('.').resolve().name\n"
        "print(sys.argv[2], here, __package__, os.environ['EXTRA'], sys.stdin.read() == '')\n"
        "print((output / 'config.json').read_text())\n"
        "tell(state='completed', stage='verify', fraction=1.0, stages=[{'stage': 'verify'}])",
        data=tmp_path,
        files={"config.json": '{"epochs": 1}'},
        env={"EXTRA": "more"},
    )
    status = ended(backend, folder)
    assert (status.state, status.stage, status.fraction, status.error) == (RunState.COMPLETED, "verify", 1.0, None)
    assert backend.metrics(folder) == [{"event": "epoch", "epoch": 1}]
    assert sorted(backend.log(folder).splitlines()) == sorted(
        ["said", "seen", f"{tmp_path} code tenlines more True", '{"epochs": 1}']
    )
    assert backend.log(folder, 1).count("\n") == 0
    assert (folder / "code/tenlines/__main__.py").exists()
    backend.fetch(folder)


def test_it_is_in_a_session_of_its_own_and_no_child_of_ours(backend, begin):
    folder = begin(FOREVER)
    assert until(backend, folder, lambda s: s.state is RunState.RUNNING).stage == "head"
    program = program_of(folder)
    assert os.getsid(program.pid) != os.getsid(0)
    assert psutil.Process().pid not in [parent.pid for parent in program.parents()]


def test_stop_is_a_file_that_the_program_finds(backend, begin):
    folder = begin(
        "tell(state='running')\nwhile not (output / 'stop').exists(): time.sleep(.01)\ntell(state='stopped')"
    )
    until(backend, folder, lambda s: s.state is RunState.RUNNING)
    backend.stop(folder)
    assert ended(backend, folder).state is RunState.STOPPED


def test_cancel_ends_the_whole_family(backend, begin):
    folder = begin(
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "tell(state='running', pid=os.getpid(), child=child.pid); time.sleep(600)"
    )
    until(backend, folder, lambda s: s.state is RunState.RUNNING)
    pids = [json.loads((folder / "status.json").read_text())[key] for key in ("pid", "child")]
    backend.cancel(folder)
    assert backend.status(folder).state is RunState.CANCELED
    assert not any(_lives(pid) for pid in pids)


def test_cancel_right_after_the_start(backend, begin):
    folder = begin("time.sleep(600)")
    backend.cancel(folder)
    assert backend.status(folder).state is RunState.CANCELED


def test_cancel_after_the_end_changes_nothing(backend, begin):
    folder = begin("tell(state='completed')")
    ended(backend, folder)
    backend.cancel(folder)
    assert backend.status(folder).state is RunState.COMPLETED


def test_its_own_explanation_is_kept(backend, begin):
    folder = begin(
        "tell(state='failed', error={'cause': 'One class.', 'fix': 'Add one.', 'alternative': ''}); sys.exit(2)"
    )
    status = ended(backend, folder)
    assert status.state is RunState.FAILED
    assert status.error == {"cause": "One class.", "fix": "Add one."}


def test_an_end_without_explanation_says_so(backend, begin):
    folder = begin("raise SystemExit(3)")
    error = ended(backend, folder).error
    assert error is not None and "exit code 3" in error["cause"]


def test_a_program_that_the_system_kills(backend, begin):
    folder = begin(FOREVER)
    until(backend, folder, lambda s: s.state is RunState.RUNNING)
    program_of(folder).kill()
    status = ended(backend, folder)
    assert status.state is RunState.FAILED
    assert status.error is not None and status.error["kind"] == "killed"
    assert "memory" in status.error["cause"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a program with its parent")
def test_a_killed_supervisor_takes_the_program_with_it(backend, begin):
    folder = begin(FOREVER)
    until(backend, folder, lambda s: s.state is RunState.RUNNING)
    program = program_of(folder)
    os.kill(json.loads((folder / "process.json").read_text())["pid"], signal.SIGKILL)
    status = ended(backend, folder)
    assert status.state is RunState.FAILED
    assert status.error is not None and "the machine or the system ended it" in status.error["cause"]
    psutil.wait_procs([program], timeout=120)
    assert not _lives(program.pid)


def test_a_number_that_belongs_to_another_process_now_is_left_alone(backend, begin):
    folder = begin("tell(state='running')")
    ended(backend, folder)
    (folder / "exit.json").unlink()  # as if the machine had gone away
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        (folder / "process.json").write_text(json.dumps({"pid": other.pid, "program": other.pid}))
        assert backend.status(folder).state is RunState.FAILED
        backend.cancel(folder)
        assert other.poll() is None
        other.kill()


def test_a_living_run_is_known_by_its_lock_and_by_no_clock(backend, begin):
    folder = begin(FOREVER)
    until(backend, folder, lambda s: s.state is RunState.RUNNING)
    program = program_of(folder)
    long_ago = 86_400.0
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    (folder / "process.json").write_text(json.dumps({"pid": 2**30, "program": program.pid, "created": 0.0}))
    assert backend.status(folder).state is RunState.RUNNING
    backend.cancel(folder)
    assert backend.status(folder).state is RunState.CANCELED
    assert not _lives(program.pid)


def test_of_twenty_starts_at_once_one_begins(backend, begin):
    program = (
        "with (output / 'began').open('a') as file: file.write('x')\n"
        "tell(state='running', pid=os.getpid())\nwhile not (output / 'stop').exists(): time.sleep(.01)\n"
        "tell(state='stopped')"
    )
    folder = begin(program)
    backend.stop(folder)
    ended(backend, folder)
    job = Job("ten lines", ("python", "-m", "tenlines", "{output}"), folder / "code" / "tenlines")
    copied = folder.parent / "code again"
    shutil.copytree(job.code, copied / "tenlines")
    job = dataclasses.replace(job, code=copied / "tenlines")
    with ThreadPoolExecutor(20) as threads:
        begun = list(threads.map(lambda _: backend.submit(job, folder), range(20)))
    assert sum(begun) == 1
    backend.stop(folder)
    assert ended(backend, folder).state is RunState.STOPPED
    assert (folder / "began").read_text() == "xx", "once before, and once in twenty tries"


def test_a_deleted_run_is_said_to_be_deleted(backend, begin):
    folder = begin("tell(state='running')")
    ended(backend, folder)
    shutil.rmtree(folder)
    status = backend.status(folder)
    assert status.state is RunState.FAILED and status.error is not None and status.error["kind"] == "deleted"
    assert f"The run's folder {folder} is missing" in status.error["cause"]
    backend.cancel(folder)


@pytest.mark.parametrize("gone", ["kept", "kept/trees", "kept/trees/a run", "kept/trees/a run/owner.lock"])
def test_what_was_deleted_under_a_living_program_is_named(backend, begin, tmp_path, gone):
    folder = tmp_path / "kept" / "trees" / "a run"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    os.utime(folder / "run.json", (time.time() - 100,) * 2)
    begin(FOREVER, folder)
    until(backend, folder, lambda s: s.state is RunState.RUNNING and (folder / "process.json").exists())
    program = program_of(folder)
    try:
        victim = tmp_path / gone
        shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
        error = backend.status(folder).error
        assert error is not None and error["kind"] == ("gone" if victim.name == "owner.lock" else "deleted")
        assert str(victim) in error["cause"]
        assert "missing" in error["cause"] and "never started" not in error["cause"]
    finally:
        program.kill()


def test_a_program_writes_what_its_code_page_cannot(backend, begin, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    monkeypatch.setenv("PYTHONUTF8", "0")
    folder = begin("print('\\uc7a5\\ubbf8/1.jpg', '\\udc80', flush=True)\ntell(state='completed')")
    assert ended(backend, folder).state is RunState.COMPLETED, backend.log(folder)
    assert backend.log(folder) == "\uc7a5\ubbf8/1.jpg \\udc80"


def test_it_is_begun_again_in_its_folder(backend, begin):
    folder = begin(
        "record(attempt=1); tell(state='running', pid=os.getpid()); print('first', flush=True); time.sleep(600)"
    )
    until(backend, folder, lambda s: s.state is RunState.RUNNING)
    program_of(folder).kill()
    ended(backend, folder)
    (folder / "stop").touch()  # too late for the first, and not meant for the second
    begin("record(attempt=2); print('second', (output / 'stop').exists())", folder=folder)
    assert ended(backend, folder).state is RunState.COMPLETED
    assert backend.metrics(folder) == [{"attempt": 1}, {"attempt": 2}]
    assert backend.log(folder) == "first\nsecond False"


def test_the_clock_of_an_earlier_attempt_is_there_for_the_next(backend, begin):
    folder = begin("tell(state='running', seconds=100.5); sys.exit(1)")
    ended(backend, folder)
    told = "tell(state='completed', said=json.loads((output / 'before.json').read_text()))"
    begin(told, folder)
    ended(backend, folder)
    assert json.loads((folder / "status.json").read_text())["said"]["seconds"] == 100.5


def test_a_supervisor_that_is_about_to_end_is_waited_for(backend, begin, tmp_path):
    """Whoever sees that a run has ended can start it again at once, however slowly its last process goes."""
    folder = tmp_path / "a run"
    folder.mkdir()
    leaving = supervise.own(folder)
    assert leaving is not None
    (folder / "exit.json").write_text('{"returncode": 1}')
    assert backend.status(folder).state is RunState.FAILED
    with ThreadPoolExecutor(1) as thread:
        again = thread.submit(begin, "tell(state='completed')", folder)
        while not (folder / "log.txt").exists() and not again.done():
            time.sleep(0.02)
        leaving.close()
        again.result()
    assert ended(backend, folder).state is RunState.COMPLETED


@pytest.mark.parametrize(("end", "seconds"), [(1002.0, 52.0), (990.0, 50.0), (9000.0, 110.0), (None, 50.0)])
def test_the_clock_of_an_ended_run_goes_to_its_end_whatever_the_systems_clock_did(backend, tmp_path, end, seconds):
    told = {"state": "running", "seconds": 50.0, "updated": 1000.0}
    (tmp_path / "status.json").write_text(json.dumps(told))
    (tmp_path / "exit.json").write_text(json.dumps({"returncode": -9} | ({} if end is None else {"ended": end})))
    assert backend.status(tmp_path).seconds == seconds


def test_a_torn_line_is_skipped(backend, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": 1}\n{"epoch": {"epoch": 2}\n[3]\n{"epoch": 3}\n{"epoch"')
    assert backend.metrics(tmp_path) == [{"epoch": 1}, {"epoch": 3}]


def test_a_long_log_gives_its_end(backend, tmp_path):
    assert backend.log(tmp_path) == ""
    (tmp_path / "log.txt").write_text("".join(f"line {i} {'x' * 400}\n" for i in range(10_000)) + "last\n\n")
    assert backend.log(tmp_path, 1) == "last"
    assert backend.log(tmp_path, 60).count("\n") == 59


def test_a_run_that_was_never_submitted(backend, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    assert backend.status(tmp_path).state is RunState.STARTING
    os.utime(tmp_path / "run.json", (time.time() - 100,) * 2)
    status = backend.status(tmp_path)
    assert status.state is RunState.FAILED
    assert status.error is not None and "never started" in status.error["cause"]


def test_a_python_that_cannot_start_is_named(backend, begin, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkspaceError, match="could not be started") as caught:
        begin("")
    assert "%mb_doctor" in caught.value.fix


def test_several_processes_are_started_by_torchrun(backend, begin):
    folder = begin("(output / f\"rank{os.environ['RANK']}of{os.environ['WORLD_SIZE']}\").touch()", processes=2)
    assert until(backend, folder, lambda s: s.state.is_terminal, 120).state is RunState.COMPLETED, backend.log(folder)
    assert sorted(path.name for path in folder.glob("rank*")) == ["rank0of2", "rank1of2"]


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
