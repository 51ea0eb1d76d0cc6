"""Executes a command job as a node of the cluster would: folders mounted, ranks set, logs and outputs stored."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import assets, login
from .jobs import Job, waiting_tag

if TYPE_CHECKING:
    from .emulator import Azure

POLL_S = 0.05
CRASHED = 139  # what bash calls the exit of a process with a segmentation fault
GRACE_S = 2.0  # between SIGTERM and SIGKILL on cancel
#: of the machine the tests run on; a node has its own
NOT_INHERITED = (
    "AZURE_",
    "MLFLOW_",
    "PYTHONPATH",
    "PIP_FIND_LINKS",
    "PYTEST_",
    "MB_",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_",
    "MASTER_",
    "VIRTUAL_ENV",
)


class _ImageError(Exception):
    """The environment's image cannot be built."""


class Execution(threading.Thread):
    """One job on its way from Starting to its end."""

    def __init__(self, azure: Azure, job: Job) -> None:
        super().__init__(daemon=True, name=f"job-{job.name}")
        self.azure, self.job = azure, job
        self.hurry = False  # the test is over: no grace, no uploads
        self.processes: list[subprocess.Popen[bytes]] = []
        self._outputs: dict[str, Output] = {}
        self._logs: list[Log] = []
        self._inputs: dict[str, str] = {}

    def run(self) -> None:
        """Go through the states; whatever happens, the job ends in a terminal one."""
        job = self.job
        try:
            for status in ("Provisioning", "Preparing"):
                self._rest(status)
            if self.azure.image_build_log:
                raise _ImageError
            while not self._over() and self._attempt() == "preempted":
                job.preempted.clear()
        except _ImageError:
            name = "azureml-logs/20_image_build_log.txt"
            log = self.azure.image_build_log.encode()
            self.azure.azurite.container("azureml").upload_blob(f"{job.artifact_prefix}{name}", log)
            message = f"Image build failed. For more details, check log file {name}."
            job.error = {"code": "ImageBuildFailure", "message": message}
        except LookupError as error:
            job.error = {"code": "UserError", "message": f"Data access failed: {error}"}
        except Exception as error:
            if not self.hurry:
                import traceback

                self.azure.broken.append(traceback.format_exc())
            job.error = {"code": "ServiceError", "message": f"{type(error).__name__}: {error}"}
        finally:
            self._kill(signal.SIGKILL)
            self._nodes(0)
        for name in ("_aml_system_ComputeTargetStatus",):
            job.tags.pop(name, None)
        job.become("Canceled" if job.cancelled.is_set() and not job.error else "Failed" if job.error else "Completed")
        job.properties |= {"StartTimeUtc": _utc(job.started or job.ended), "EndTimeUtc": _utc(job.ended)}

    def _over(self) -> bool:
        return self.job.cancelled.is_set() or self.hurry

    def _rest(self, status: str) -> None:
        if not self._over():
            self.job.become(status)
            self.job.cancelled.wait(self.azure.pace)

    def _nodes(self, running: int, preempted: int = 0) -> None:
        """Show on the compute what its nodes do."""
        name = str(self.job.given.get("computeId", "")).rsplit("/", 1)[-1].lower()
        if body := self.job.space.computes.get(name):
            inner = body["properties"]["properties"]
            inner["currentNodeCount"] = inner["targetNodeCount"] = running
            inner["nodeStateCounts"] |= {"runningNodeCount": running, "preemptedNodeCount": preempted}

    def _attempt(self) -> str:
        """Wait for nodes, execute the command on them, store what it left."""
        job, azure = self.job, self.azure
        nodes = int((job.given.get("resources") or {}).get("instanceCount") or 1)
        job.tags["_aml_system_ComputeTargetStatus"] = waiting_tag(0)
        self._rest("Queued")
        while azure.queue_held and not self._over():
            time.sleep(POLL_S)
        if self._over():
            return "cancelled"
        job.tags["_aml_system_ComputeTargetStatus"] = waiting_tag(0, nodes)
        job.attempts += 1
        self._nodes(nodes)
        folder = azure.folder / "jobs" / job.name / str(job.attempts)
        self._mount(folder)
        self._start(folder, nodes)
        job.become("Running")
        end = self._follow()
        self._store(final=True)
        if end == "preempted":
            self._nodes(0, preempted=nodes)
        elif not self.hurry and end != "cancelled":
            job.become("Finalizing")
            for name in ("outputs", "logs"):
                _upload(azure, ("azureml", f"{job.artifact_prefix}{name}/"), folder / "node-0" / name, {})
            for output in self._outputs.values():
                output.store(azure, final=True)
        return end

    # --- before -------------------------------------------------------------------------------------

    def _mount(self, folder: Path) -> None:
        """Bring code, inputs and what earlier attempts left in mounted outputs."""
        azure, space, given = self.azure, self.job.space, self.job.given
        (folder / "code").mkdir(parents=True)
        if code := given.get("codeId"):
            name, _, version = code.rsplit("/", 3)[1:]
            container, prefix = assets.locate(
                azure, space, space.assets["codes", name, version]["properties"]["codeUri"]
            )
            _download(azure, container, prefix.rstrip("/") + "/" if prefix else "", folder / "code")
        for name, one in (given.get("inputs") or {}).items():
            self._inputs[name] = (
                one.get("value", "") if one["jobInputType"] == "literal" else self._bring(name, one, folder)
            )
        for name, one in (given.get("outputs") or {}).items():
            uri = one.get("uri") or f"azureml://datastores/workspaceblobstore/paths/azureml/{self.job.name}/{name}/"
            uri = uri.replace("${{name}}", self.job.name).replace("${{output_name}}", name)
            uri = uri.replace("${{default_datastore}}", "workspaceblobstore")
            self._refuse_mount()
            container, prefix = assets.locate(azure, space, uri, identity=self._identity)
            output = Output(
                folder / "outputs" / name, container, prefix.rstrip("/") + "/", one.get("mode") == "ReadWriteMount"
            )
            if output.mounted:
                output.disk.mkdir(parents=True)
                output.lead_to(output.disk)
                output.known = _download(azure, container, output.prefix, output.folder)
            else:
                output.folder.mkdir(parents=True)
            self._outputs[name] = output

    @property
    def _identity(self) -> bool:
        return bool(self.job.given.get("identity"))

    def _refuse_mount(self) -> None:
        if self.azure.mounts_refused:
            raise LookupError("KeyBasedAuthenticationNotPermitted: key based authentication is not permitted")

    def _bring(self, name: str, one: dict[str, Any], folder: Path) -> str:
        self._refuse_mount()
        container, prefix = assets.locate(self.azure, self.job.space, one["uri"], identity=self._identity)
        target = folder / "inputs" / name
        target.mkdir(parents=True)
        if one["jobInputType"] == "uri_file":
            file = target / prefix.rsplit("/", 1)[-1]
            file.write_bytes(self.azure.azurite.container(container).download_blob(prefix).readall())
            return str(file)
        if not _download(self.azure, container, prefix.rstrip("/") + "/" if prefix else "", target):
            raise LookupError(f"nothing lies at {one['uri']}")
        return str(target)

    def _command(self) -> str:
        command = str(self.job.given["command"])
        places = {f"inputs.{name}": value for name, value in self._inputs.items()}
        places |= {f"outputs.{name}": str(output.folder) for name, output in self._outputs.items()}

        def optional(match: re.Match[str]) -> str:
            wanted = re.findall(r"\$\{\{([\w.]+)\}\}", match[1])
            return match[1] if all(name in places for name in wanted) else ""

        command = re.sub(r"\$\[\[(.*?)\]\]", optional, command, flags=re.DOTALL)
        return re.sub(r"\$\{\{([\w.]+)\}\}", lambda match: places[match[1]], command)

    def _environment(self, folder: Path) -> dict[str, str]:
        azure, job, space = self.azure, self.job, self.job.space
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
        programs = folder / "bin"
        programs.mkdir()
        for name in ("python", "python3"):  # a wrapper: a link out of a virtual environment would lose it
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
            (programs / name).chmod(0o755)
        token = login.issue(azure, "https://management.azure.com", lifetime=24 * 3600)
        _, _, sub, _, group, *_ = space.id.split("/")
        given = {
            "MLFLOW_TRACKING_URI": space.body["properties"]["mlFlowTrackingUri"],
            "MLFLOW_TRACKING_TOKEN": token,
            "MLFLOW_RUN_ID": job.name,
            "MLFLOW_EXPERIMENT_ID": job.experiment_id,
            "MLFLOW_EXPERIMENT_NAME": job.experiment,
            "AZUREML_RUN_ID": job.name,
            "AZUREML_RUN_TOKEN": token,
            "AZUREML_ARM_SUBSCRIPTION": sub,
            "AZUREML_ARM_RESOURCEGROUP": group,
            "AZUREML_ARM_WORKSPACE_NAME": space.body["name"],
            "AZUREML_EXPERIMENT_ID": job.experiment_id,
            "AZUREML_SERVICE_ENDPOINT": f"https://{space.region}.api.azureml.ms",
        }
        if self._identity:
            given["OBO_ENDPOINT"] = "http://169.254.169.254/obo/token"
        given |= {f"AZURE_ML_INPUT_{name}": value for name, value in self._inputs.items()}
        given |= {f"AZURE_ML_OUTPUT_{name}": str(output.folder) for name, output in self._outputs.items()}
        path = os.pathsep.join((str(programs), os.environ["PATH"]))
        network = azure.network(azure.inside_proxy.port)
        return {**kept, **network, **given, "PATH": path, **(self.job.given.get("environmentVariables") or {})}

    def _start(self, folder: Path, nodes: int) -> None:
        """Start one process for each rank, each in a session of its own."""
        each = int((self.job.given.get("distribution") or {}).get("processCountPerInstance") or 1)
        environment, command, port = self._environment(folder), self._command(), _free_port()
        self.processes, self._logs = [], []
        for node in range(nodes):
            work = folder / f"node-{node}"
            shutil.copytree(folder / "code", work)
            (work / "tmp").mkdir()
            for local in range(each):
                rank = node * each + local
                ranks = {"RANK": rank, "WORLD_SIZE": nodes * each, "LOCAL_RANK": local,
                         "NODE_RANK": node, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
                distributed = self.job.given.get("distribution") is not None
                own = {name: str(value) for name, value in ranks.items()} if distributed else {}
                own["TMPDIR"] = str(work / "tmp")  # each node has a disk of its own
                name = "std_log.txt" if nodes * each == 1 else f"std_log_process_{rank}.txt"
                file = folder / name
                with file.open("wb") as log:
                    process = subprocess.Popen(
                        ("bash", "-c", command), cwd=work, env={**environment, **own}, stdin=subprocess.DEVNULL,
                        stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                    )  # fmt: skip
                self.processes.append(process)
                self._logs.append(Log(file, f"{self.job.artifact_prefix}user_logs/{name}"))

    # --- while --------------------------------------------------------------------------------------

    def _follow(self) -> str:
        """Store logs and mounted outputs until the command ends or is ended."""
        job, limit = self.job, _seconds((self.job.given.get("limits") or {}).get("timeout"))
        end = time.monotonic() + limit if limit else float("inf")
        while True:
            codes = [process.poll() for process in self.processes]
            if job.preempted.is_set():
                self._kill(signal.SIGKILL)
                return "preempted"
            if self._over() or time.monotonic() > end:
                job.cancelled.set()
                self._kill(signal.SIGTERM)
                return "cancelled"
            if failed := [code for code in codes if code]:
                self._kill(signal.SIGKILL)
                job.error = self._failure(codes.index(failed[0]), failed[0])
                return "failed"
            if all(code == 0 for code in codes):
                if self.azure.exit_crash:
                    job.error = self._failure(0, CRASHED)
                return "done"
            self._store()
            time.sleep(POLL_S)

    def break_mounts(self) -> None:
        """Let each mounted output lead to a plain file, so that whatever is done there is refused."""
        for output in self._outputs.values():
            if output.mounted:
                output.lead_to("/dev/null")

    def mend_mounts(self) -> None:
        """Let them lead to their folders again."""
        for output in self._outputs.values():
            if output.mounted:
                output.lead_to(output.disk)

    def _store(self, final: bool = False) -> None:
        if self.hurry:
            return
        for log in self._logs:
            log.store(self.azure)
        for output in self._outputs.values():
            if output.mounted:
                output.store(self.azure, final)

    def _failure(self, rank: int, code: int) -> dict[str, str]:
        tail = self._logs[rank].file.read_text(errors="replace")[-1500:]
        name = self._logs[rank].blob.split("/", 2)[2]
        message = f"Execution failed. User process 'bash' exited with status code {code}."
        advice = f"Please check log file '{name}' for error details. Error: {tail}"
        return {"code": "UserError", "message": f"{message} {advice}"}

    def _kill(self, number: int) -> None:
        for process in self.processes:
            _signal(process, number)
        end = time.monotonic() + (0 if self.hurry else GRACE_S)
        while number != signal.SIGKILL and time.monotonic() < end and any(one.poll() is None for one in self.processes):
            time.sleep(0.02)
        for process in self.processes:
            _signal(process, signal.SIGKILL)
            process.wait()


class Output:
    """A folder whose files go to a container."""

    def __init__(self, folder: Path, container: str, prefix: str, mounted: bool) -> None:
        self.folder, self.container, self.prefix, self.mounted = folder, container, prefix, mounted
        self.known: dict[str, tuple[int, int]] = {}
        self.disk = folder.with_name(f"{folder.name} on disk")  # of a mounted one, which is a link that can be turned

    def lead_to(self, target: str | Path) -> None:
        """Let the folder lead somewhere else, from one moment to the next."""
        link = self.folder.with_name(f"{self.folder.name} new")
        link.symlink_to(target)
        link.replace(self.folder)

    def store(self, azure: Azure, final: bool = False) -> None:
        """Upload what is new; while the job runs, only what has rested for a moment."""
        place = (self.container, self.prefix)
        files = self.disk if self.mounted else self.folder
        _upload(azure, place, files, self.known, settled=not final, folders=self.mounted)


class Log:
    """A file that grows and its copy, an append blob, in the artifact store."""

    def __init__(self, file: Path, blob: str) -> None:
        self.file, self.blob, self.sent = file, blob, 0

    def store(self, azure: Azure) -> None:
        """Append what has come since."""
        with self.file.open("rb") as stream:
            stream.seek(self.sent)
            fresh = stream.read()
        client = azure.azurite.container("azureml").get_blob_client(self.blob)
        if not self.sent and not client.exists():
            client.create_append_blob()
        for begin in range(0, len(fresh), 1 << 20):
            client.append_block(fresh[begin : begin + (1 << 20)])
        self.sent += len(fresh)


def _stamp(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns


def _upload(
    azure: Azure, place: tuple[str, str], folder: Path, known: dict[str, tuple[int, int]], *, settled: bool = False,
    folders: bool = False,
) -> None:  # fmt: skip
    """Upload the files of a folder that changed; ``settled`` leaves out what was written just now.

    With ``folders`` each folder leaves an empty blob of its name, as blobfuse does.
    """
    container, prefix = place
    if not folder.is_dir():
        return
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        try:
            stamp = _stamp(file)
            if folders and file.is_dir() and name not in known:
                marked = {"hdi_isfolder": "true"}
                azure.azurite.container(container).upload_blob(prefix + name, b"", metadata=marked, overwrite=True)
                known[name] = stamp
            if not file.is_file() or known.get(name) == stamp or (settled and time.time_ns() - stamp[1] < 2e8):
                continue
            with file.open("rb") as stream:
                azure.azurite.container(container).upload_blob(prefix + name, stream, overwrite=True)
            known[name] = stamp
        except FileNotFoundError:  # renamed meanwhile
            continue


def _download(azure: Azure, container: str, prefix: str, folder: Path) -> dict[str, tuple[int, int]]:
    """Download what lies under a prefix and return what was found."""
    client = azure.azurite.container(container)
    blobs = list(client.list_blobs(name_starts_with=prefix, include=["metadata"]))
    names = [blob.name for blob in blobs if "hdi_isfolder" not in (blob.metadata or {})]

    def fetch(name: str) -> Path:
        file = folder / name[len(prefix) :]
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            client.download_blob(name).readinto(stream)
        return file

    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(fetch, [name for name in names if not name.endswith("/")]))
    return {file.relative_to(folder).as_posix(): _stamp(file) for file in files}


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)  # its session, also what it started


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _seconds(duration: str | None) -> float:
    """Return the seconds of an ISO 8601 duration such as PT1H30M."""
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", duration or "")
    if not match:
        return 0.0
    return sum(float(part or 0) * unit for part, unit in zip(match.groups(), (86400, 3600, 60, 1), strict=True))


def _utc(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))
