"""A small network with random weights, as a user would give it, and a cache folder of the tests' own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models

from mb_jupyter.training import graph, network
from tests.picture_files import folder_of

CLASSES = ("ape", "bee", "cat")
SIZE = 64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks gain nothing by several threads, and lose much where other tests run beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights of squeezenet1_1."""
    file = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(models.squeezenet1_1(weights=None).state_dict(), file)
    return file


@pytest.fixture
def classifier(weights: Path) -> network.Classifier:
    """Return a classifier of three classes with a random head, in evaluation mode."""
    made = network.Classifier(network.load(network.choose("squeezenet1_1", str(weights))), CLASSES, SIZE)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        made.head.linear.weight.normal_(std=0.05, generator=generator)
        made.head.mean.normal_(std=0.1, generator=generator)
        made.head.scale.uniform_(0.5, 2, generator=generator)
    made.temperature.fill_(1.7)
    return made.eval()


@pytest.fixture
def images() -> np.ndarray:
    """Return five noisy pictures, uint8 (5, 64, 64, 3)."""
    return np.random.default_rng(2).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that stands for the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(graph, "_last", None)
    return tmp_path / "xdg" / "mb_jupyter"


@pytest.fixture(scope="session")
def graph_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def warm_cache(own_cache: Path, graph_folder: Path) -> Callable[[], None]:
    """Fill the cache with the graph that an earlier test exported; calling it keeps this test's graph for later."""
    if any(graph_folder.iterdir()):
        shutil.copytree(graph_folder, own_cache / "graphs")

    def keep() -> None:
        shutil.copytree(own_cache / "graphs", graph_folder, dirs_exist_ok=True)

    return keep


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Return a folder of two classes with twelve different pictures each."""
    return folder_of(tmp_path / "flowers", {"rose": 12, "tulip": 12})
