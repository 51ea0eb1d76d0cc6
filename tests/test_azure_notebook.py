"""What a person at a notebook does while a run is in Azure: looks away, stops an upload, restarts the kernel."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.azure_emulator.emulator import Azure
from tests.standin import USE, Cell, write_pictures

OFTEN = "from mb_jupyter.backends.azure import follow; follow.OFTEN, follow.RARELY = 0.2, 0.5"  # looks at a job
LOAD = f"{USE}\n{OFTEN}\nfrom mb_jupyter import cloud\n%load_ext mb_jupyter"
TRAIN = "%%mb_train trees --backend azure\ndata: trees\nazure: {compute: gpu}"


class Kernel:
    """A kernel, and somebody before it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.start()

    def start(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(self.place), env=dict(os.environ))
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=300)
        assert not self.run(LOAD).error

    def run(self, code: str, until: Callable[[Cell], object] | None = None) -> Cell:
        return Cell(self.client, code, allow_stdin=True).read(until)

    def until(self, words: str, code: str) -> None:
        """Run a cell again and again until it says something."""
        end = time.monotonic() + 120
        while words not in (said := self.run(code).text):
            assert time.monotonic() < end, said
            time.sleep(0.2)

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    monkeypatch.setenv("STANDIN", "slow")
    monkeypatch.delenv("MB_WORKSPACE", raising=False)
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    write_pictures(tmp_path / "trees")
    kernel = Kernel(tmp_path)
    kernel.run(f"%mb_workspace use ws --sign-in environment -s {azure.subscription}")
    yield kernel
    kernel.end()


def running(cell: Cell) -> bool:
    return "[epoch" in cell.text


def test_stop_only_looks_away(kernel, azure):
    upload = azure.fault("PUT", "*/data/packs/*", kind="stall", seconds=600)
    cell = kernel.run(TRAIN, until=lambda cell: cell.outputs)
    assert "Stop button only looks away" in cell.text and not azure.jobs
    upload.release()
    cell.read(running)
    assert "Monitor current run in Azure portal" in cell.text and "Cost so far: about" in cell.text
    kernel.manager.interrupt_kernel()
    cell.read()
    assert not cell.error
    (job,) = azure.jobs.values()
    handle = f"azure://ws/{job.name}"
    assert f"no longer follows {handle}; it goes on and costs" in cell.text
    assert f"%mb_attach {handle} | %mb_stop {handle} | %mb_cancel {handle}" in cell.text
    assert job.status == "Running" and "running" in kernel.run("mb_run.state.value").text
    assert "was asked to stop" in kernel.run("%mb_stop").text
    assert "trees: stopped" in kernel.run(f"%mb_attach {handle}").text and len(azure.jobs) == 1


def test_stop_during_the_upload_cancels_it(kernel, azure):
    upload = azure.fault("PUT", "*/data/packs/*", 99, kind="stall", seconds=600)
    cell = kernel.run(TRAIN, until=lambda _: upload.hits)
    kernel.manager.interrupt_kernel()
    cell.read()
    assert "nothing runs and nothing costs" in cell.text and not azure.jobs
    upload.release()
    kernel.run("import os; os.environ['STANDIN'] = ''")
    os.environ["STANDIN"] = ""
    again = kernel.run(TRAIN)
    assert "trees: completed" in again.text and len(azure.jobs) == 1


def test_stop_during_the_submission_cancels_the_job(kernel, azure):
    submission = azure.fault("PUT", "*/jobs/*", 1, kind="stall", seconds=600)
    cell = kernel.run(TRAIN, until=lambda _: submission.hits)
    kernel.manager.interrupt_kernel()
    cell.read()
    assert not cell.error
    submission.release()
    kernel.until("canceled", "print(mb_run.state)")
    assert [job.status for job in azure.jobs.values()] == ["Canceled"]


def cut_off(kernel: Kernel, azure: Azure, where: str) -> Cell:
    """End the kernel while a request hangs; return what the same cell shows in the next kernel."""
    request = azure.fault("PUT", where, 1, kind="stall", seconds=600)
    kernel.run(TRAIN, until=lambda _: request.hits)
    kernel.end()
    request.release()
    kernel.start()
    os.environ["STANDIN"] = ""
    kernel.run("from mb_jupyter.backends.azure import look; look.MISSING_SECONDS = 2.0")
    return kernel.run(TRAIN)


def test_a_kernel_that_ends_during_the_upload(kernel, azure):
    cell = cut_off(kernel, azure, "*/data/packs/*")
    assert "trees: completed" in cell.text and "which had failed" in cell.text
    assert len(azure.jobs) == 1


def test_a_kernel_that_ends_during_the_submission(kernel, azure):
    cell = cut_off(kernel, azure, "*/jobs/*")
    assert cell.error == "AzureError" and "It may never have arrived there" in cell.text
    again = kernel.run(TRAIN)
    assert "submitted again under its name" in again.text and "trees: completed" in again.text
    assert len(azure.jobs) == 1


def test_a_kernel_that_ends_when_the_job_has_arrived_and_is_not_shown_yet(kernel, azure):
    """The cell sends it again, which Azure takes as the same job: it runs once."""
    azure.unseen = 10_000
    kernel.run(TRAIN, until=lambda _: azure.jobs)
    kernel.end()
    kernel.start()
    kernel.run("from mb_jupyter.backends.azure import look; look.MISSING_SECONDS = 2.0")
    assert "It may never have arrived there" in kernel.run(TRAIN).text
    (job,) = azure.jobs.values()
    job.unseen = 1  # once more, before it is sent again
    job.tags["mb_stop"] = "true"
    assert "trees: stopped" in kernel.run(TRAIN).text
    assert len(azure.jobs) == 1 and job.attempts == 1
    assert [one.status for one in azure.asked("PUT", "*/jobs/*")] == [201, 200]


def test_a_restarted_kernel_shows_it_again(kernel, azure):
    kernel.run(TRAIN, until=running)
    kernel.end()
    kernel.start()
    assert "running" in kernel.run("%mb_runs").text
    assert re.search("cancelled|asked to end", kernel.run("%mb_cancel").text)
    kernel.until("canceled", "import mb_jupyter; print(mb_jupyter.attach().state)")
    assert [job.status for job in azure.jobs.values()] == ["Canceled"]
