"""Upload of a folder to Azurite: ours, the SDK's own, and ours again unchanged, in the same run.

``python benchmarks/upload.py [FILES] [BYTES]``; needs node and Azurite as the tests do (``MB_AZURITE``).
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mb_jupyter.azureml import Place, connect
from mb_jupyter.azureml.storage import Store
from mb_jupyter.azureml.upload import upload_folder
from tests.azure_emulator.emulator import Azure


def seconds(work: Callable[[], Any]) -> float:
    """Return how long the work takes; what it shows is kept away."""
    begun = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        work()
    return time.perf_counter() - begun


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(root: Path, files: int, size: int, seed: int) -> Path:
    """Write files of noise into ten folders."""
    noise = random.Random(seed)
    for number in range(files):
        path = root / f"class{number % 10}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise.randbytes(size))
    return root


def main() -> None:
    """Print a table."""
    files, size = int((sys.argv[1:] or ["5000"])[0]), int((sys.argv[2:] or ["20000"])[0])
    with tempfile.TemporaryDirectory() as place:
        first = write(Path(place) / "first", files // 5, size, seed=0)
        root = write(Path(place) / "pictures", files, size, seed=1)
        twice = write(Path(place) / "twice", 2 * files, size, seed=2)
        azure = Azure(Path(place))
        azure.reset()
        azure.direct_blobs = True
        try:
            os.environ.update({**azure.environment, "XDG_CACHE_HOME": str(Path(place) / "cache")})
            print(f"{files:,} files of {size / 1000:g} kB, {os.cpu_count()} cores")
            compare(azure, first, root, twice)
        finally:
            azure.stop()


def compare(azure: Azure, first: Path, root: Path, twice: Path) -> None:
    azure.make_workspace("ws", "rg")
    connection = connect("environment", Place(azure.subscription, "rg", "ws", "westeurope", azure.tenant))
    store = Store(connection)
    upload_folder(store, first)  # signing in and importing are not measured
    client = connection.client

    def by_sdk() -> None:
        from azure.ai.ml.entities import Data

        client.data.create_or_update(Data(name="pictures", version="1", path=str(root), type="uri_folder"))

    before = memory()
    ours = seconds(lambda: upload_folder(store, root))
    grown = memory() - before
    again = seconds(lambda: upload_folder(store, root))
    before = memory()
    upload_folder(store, twice)
    more = memory() - before
    sdk = seconds(by_sdk)
    for name, took in (("ours", ours), ("ours, unchanged folder", again), ("azure-ai-ml's own", sdk)):
        print(f"{name:24} {took:8.2f} s   {sdk / took:6.1f} times as fast as the SDK's")
    print(f"peak of memory after a fifth of the files: {before - grown:.0f} MB")
    print(f"higher by {grown:.0f} MB after all of them, by {more:.0f} MB more after twice as many")


if __name__ == "__main__":
    main()
