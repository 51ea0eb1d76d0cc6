"""Finding, fetching and reading weights: what is refused, and in which words."""

from __future__ import annotations

import functools
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torchvision import models

from mb_jupyter.training import network
from mb_jupyter.training import weights as finding
from mb_jupyter.training.errors import TrainingError


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return torch's empty cache folder on a machine from which nothing can be reached."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def resnet50() -> dict[str, torch.Tensor]:
    return models.resnet50(weights=None).state_dict()


class TestChoose:
    def test_auto_without_a_connection_is_the_network_that_comes_along(self, offline: Path) -> None:
        choice = network.choose("auto", None)
        assert choice.name == "efficientnet_lite0"
        assert re.search(r"resnet50 are not in torch's cache and could not be downloaded \(.+\)", choice.reason)
        assert choice.sha256 == hashlib.sha256(choice.file.read_bytes()).hexdigest()
        assert not offline.exists()

    def test_auto_is_resnet50_where_its_weights_are_cached(self, offline: Path, resnet50) -> None:
        offline.mkdir(parents=True)
        torch.save(resnet50, offline / "resnet50-11ad3fa6.pth")
        choice = network.choose("auto", None)
        assert (choice.name, choice.file) == ("resnet50", offline / "resnet50-11ad3fa6.pth")
        assert "torch's cache" in choice.reason
        backbone = network.load(choice)
        assert backbone.feature_size == 2048 + 2 * 15104
        assert torch.equal(backbone.state_dict()["parts.0.0.weight"], resnet50["conv1.weight"])

    def test_a_named_network_never_turns_into_another(self, offline: Path) -> None:
        with pytest.raises(TrainingError, match="weights of convnext_tiny are not on this machine") as error:
            network.choose("convnext_tiny", None)
        assert "convnext_tiny-983f1562.pth" in error.value.fix
        assert str(offline) in error.value.fix
        assert "weights: PATH" in error.value.fix
        assert "efficientnet_lite0" in error.value.alternative

    @pytest.mark.parametrize(
        ("asked", "meant"), [("resnet-50", "resnet50"), ("EfficientNet_Lite", "efficientnet_lite0")]
    )
    def test_a_misspelt_name_is_answered_with_the_nearest(self, asked: str, meant: str) -> None:
        with pytest.raises(TrainingError, match=re.escape(asked)) as error:
            network.choose(asked, None)
        assert meant in error.value.fix

    def test_a_detector_is_no_classifier(self) -> None:
        with pytest.raises(TrainingError, match="no architecture 'fasterrcnn_resnet50_fpn'"):
            network.choose("fasterrcnn_resnet50_fpn", None)


class TestFile:
    def test_auto_recognises_the_two_networks(self, tmp_path: Path, resnet50) -> None:
        torch.save(resnet50, tmp_path / "mine.pth")
        assert network.choose("auto", str(tmp_path / "mine.pth")).name == "resnet50"
        packaged = network.choose("efficientnet_lite0", None).file
        assert network.choose("auto", str(packaged)).name == "efficientnet_lite0"

    def test_auto_asks_for_the_name_of_any_other(self, weights: Path) -> None:
        with pytest.raises(TrainingError, match="neither of resnet50 nor of efficientnet_lite0") as error:
            network.choose("auto", str(weights))
        assert "architecture" in error.value.fix

    def test_wrapped_and_prefixed_and_of_other_classes(self, tmp_path: Path) -> None:
        model = models.shufflenet_v2_x0_5(weights=None, num_classes=7)
        wrapped = {"state_dict": {f"module.{name}": value for name, value in model.state_dict().items()}, "epoch": 3}
        torch.save(wrapped, tmp_path / "mine.pth")
        backbone = network.load(network.choose("shufflenet_v2_x0_5", str(tmp_path / "mine.pth")))
        assert torch.equal(backbone.state_dict()["parts.0.0.weight"], model.state_dict()["conv1.0.weight"])

    def test_old_names_are_understood(self, tmp_path: Path) -> None:
        model = models.densenet121(weights=None)
        old = {re.sub(r"(denselayer\d+\.\w+)([12]\.)", r"\1.\2", name): v for name, v in model.state_dict().items()}
        assert any(".norm.1." in name for name in old)
        torch.save(old, tmp_path / "old.pth")
        network.load(network.choose("densenet121", str(tmp_path / "old.pth")))

    def test_the_size_of_a_transformer_comes_with_its_weights(self, tmp_path: Path) -> None:
        torch.save(models.vit_b_32(weights=None, image_size=64).state_dict(), tmp_path / "vit.pth")
        assert network.load(network.choose("vit_b_32", str(tmp_path / "vit.pth"))).fixed_size == 64

    def test_weights_of_another_network(self, weights: Path) -> None:
        with pytest.raises(TrainingError, match=r"squeezenet.pth is not of resnet18: conv1.weight is missing") as error:
            network.choose("resnet18", str(weights))
        assert "more" in error.value.cause

    def test_a_deeper_network_of_the_same_names_is_another_network(self, tmp_path: Path) -> None:
        torch.save(models.resnet34(weights=None).state_dict(), tmp_path / "deep.pth")
        with pytest.raises(TrainingError, match=r"layer1\.2\.conv1\.weight does not belong to it"):
            network.choose("resnet18", str(tmp_path / "deep.pth"))

    def test_another_width(self, tmp_path: Path) -> None:
        torch.save(models.shufflenet_v2_x1_0(weights=None).state_dict(), tmp_path / "wide.pth")
        with pytest.raises(TrainingError, match=r"is \d+x\d+x1x1 instead of \d+x"):
            network.choose("shufflenet_v2_x0_5", str(tmp_path / "wide.pth"))

    def test_a_pickle_is_refused_and_not_run(self, tmp_path: Path) -> None:
        ran = tmp_path / "ran"
        torch.save({"state_dict": _Hostile(str(ran))}, tmp_path / "bad.pth")
        with pytest.raises(TrainingError, match=r"bad\.pth holds Python objects, which could run any program"):
            network.choose("resnet18", str(tmp_path / "bad.pth"))
        assert not ran.exists()

    def test_a_whole_module_is_refused(self, tmp_path: Path) -> None:
        torch.save(models.squeezenet1_1(weights=None), tmp_path / "module.pth")
        with pytest.raises(TrainingError, match="holds Python objects") as error:
            network.choose("squeezenet1_1", str(tmp_path / "module.pth"))
        assert "state_dict()" in error.value.fix

    @pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut", b"\x80\x02}q\x00."])
    def test_damaged_or_foreign_files(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(TrainingError, match=r"x\.pth (is damaged|holds no tensors)"):
            network.choose("resnet18", str(tmp_path / "x.pth"))

    def test_a_file_cut_short(self, weights: Path, tmp_path: Path) -> None:
        (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:100_000])
        with pytest.raises(TrainingError, match=r"cut\.pth is damaged"):
            network.choose("squeezenet1_1", str(tmp_path / "cut.pth"))

    @pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3}, torch.zeros(2)])
    def test_no_tensors_by_name(self, content: object, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(TrainingError, match="holds no tensors by name"):
            network.choose("resnet18", str(tmp_path / "x.pth"))

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="does not exist"):
            network.choose("auto", str(tmp_path / "none.pth"))

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="does not exist"):
            network.choose("auto", str(tmp_path))


class _Hostile:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(self.path),)


class TestDownload:
    @pytest.fixture
    def server(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
        """Yield the address of a server and the folder that it serves."""
        folder = tmp_path / "served"
        folder.mkdir()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        handler = functools.partial(_Silent, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
            thread = threading.Thread(target=running.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{running.server_port}", folder
            running.shutdown()
            thread.join()

    def test_a_file_whose_hash_is_right(self, server: tuple[str, Path], tmp_path: Path) -> None:
        content = b"weights" * 400_000
        name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        (server[1] / name).write_bytes(content)
        seen: list[tuple[int, int]] = []
        found = finding.download(f"{server[0]}/{name}", tmp_path / "to", lambda done, total: seen.append((done, total)))
        assert found.read_bytes() == content
        assert [path.name for path in (tmp_path / "to").iterdir()] == [name]
        assert seen[-1] == (len(content), len(content))

    def test_a_damaged_file_is_not_kept(self, server: tuple[str, Path], tmp_path: Path) -> None:
        (server[1] / "net-01234567.pth").write_bytes(b"something else")
        with pytest.raises(OSError, match="arrived damaged"):
            finding.download(f"{server[0]}/net-01234567.pth", tmp_path / "to")
        assert not list((tmp_path / "to").iterdir())

    def test_a_missing_file(self, server: tuple[str, Path], tmp_path: Path) -> None:
        with pytest.raises(OSError, match="404"):
            finding.download(f"{server[0]}/net-01234567.pth", tmp_path / "to")

    def test_a_server_that_is_silent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(finding, "CONNECT_SECONDS", 0.2)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        import socket

        with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(OSError, match=r"timed out|no answer"):
            finding.download(f"http://127.0.0.1:{listener.getsockname()[1]}/net-01234567.pth", tmp_path)


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass
