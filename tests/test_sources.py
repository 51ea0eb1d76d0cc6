from __future__ import annotations

import http.server
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mb_jupyter import sources
from mb_jupyter.errors import PredictionError
from mb_jupyter.prediction import ModelInput
from mb_jupyter.sources import count, expand, fetch, is_single


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two classes with things in it that are no pictures."""
    for name in ("b/two.JPG", "b/three.png", "a/one.jpeg", "zero.webp", ".ipynb_checkpoints/x.png", "b/.hidden.jpg"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "set" / "notes.txt").write_text("no picture")
    return tmp_path / "set"


def names(*given: object, urls: bool = False) -> list[str]:
    return [picture.name for picture in expand(given, urls=urls)]


def test_a_folder_is_read_whole_in_order_and_hidden_things_are_left_out(folder: Path) -> None:
    expected = [str(folder / name) for name in ("a/one.jpeg", "b/three.png", "b/two.JPG", "zero.webp")]
    assert names(folder) == names(str(folder)) == expected
    assert count([folder, folder]) == 8


def test_a_folder_that_links_to_itself_ends(folder: Path) -> None:
    (folder / "b" / "again").symlink_to(folder, target_is_directory=True)
    assert len(names(folder)) == 4


def test_globs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(str(folder / "b" / "*")) == [str(folder / "b" / name) for name in ("three.png", "two.JPG")]
    assert len(names(str(folder / "**"))) == 4
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/b/*.png") == [str(folder / "b" / "three.png")]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder: Path) -> None:
    (folder / "[a]?.png").write_bytes(b"")
    assert names(str(folder / "[a]?.png")) == [str(folder / "[a]?.png")]
    assert is_single(str(folder / "[a]?.png"))


def test_what_is_one_picture_by_its_kind(folder: Path) -> None:
    one = folder / "zero.webp"
    picture = Image.new("RGB", (4, 4))
    for single in (one, str(one), b"data", picture, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8),
                   np.zeros((4, 4, 4), np.uint8), ModelInput(str(one)), "https://example.org/a.jpg"):  # fmt: skip
        assert is_single(single), single
    table = pd.DataFrame({"ImageSource": [str(one)]})
    for several in (folder, str(folder / "*.webp"), [one], np.zeros((1, 4, 4, 3), np.uint8), table, iter([one])):
        assert not is_single(several), several


def test_tables_columns_lists_and_inputs(folder: Path) -> None:
    one, two = str(folder / "zero.webp"), str(folder / "b" / "two.JPG")
    table = pd.DataFrame({"ImageSource": [one, two], "Label": ["x", "y"]})
    assert names(table) == names(table["ImageSource"]) == names([one, Path(two)]) == [one, two]
    assert names([ModelInput(one, "x"), [ModelInput(two)]]) == names(np.array([one, two])) == [one, two]
    assert names(path for path in (one, two)) == [one, two]
    assert count([iter([one])]) is None
    with pytest.raises(PredictionError, match="no column ImageSource"):
        names(pd.DataFrame({"path": [one]}))


def test_pictures_without_a_name_are_numbered_through(folder: Path) -> None:
    one = str(folder / "zero.webp")
    given = names(np.zeros((2, 4, 4, 3), np.uint8), one, b"data", Image.new("L", (3, 3)))
    assert given == ["picture 1", "picture 2", one, "picture 4", "picture 5"]


def test_a_name_that_is_no_text_can_still_be_written(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(raw)).write_bytes(b"")
    (given,) = names(tmp_path)
    assert given.encode("utf-8")


@pytest.mark.parametrize("text", ["a" * 5000, "no/such/" + "b" * 300, "a\0b"])
def test_a_text_that_is_no_name_of_a_file_is_an_error(text: str) -> None:
    assert is_single(text)
    with pytest.raises(PredictionError) as caught:
        names(text)
    assert caught.value.fix and len(caught.value.cause) < 400


@pytest.mark.parametrize("missing", ["nothing.jpg", "no/such/folder/", "*.nope", "~nobody-here/x.jpg"])
def test_what_is_missing_is_an_error(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PredictionError) as caught:
        names(missing)
    assert caught.value.cause and caught.value.fix


def test_places_without_pictures_say_what_is_there(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PredictionError, match="no image, but nothing"):
        names(tmp_path / "empty")
    (tmp_path / "empty" / "a.txt").write_text("")
    with pytest.raises(PredictionError, match="1 other files"):
        names(tmp_path / "empty")
    with pytest.raises(PredictionError, match="1 others do"):
        names(str(folder / "*.txt"))


@pytest.mark.parametrize("thing", [3, None, {"a": 1}, object(), np.zeros((2, 2, 2, 2, 3)), np.zeros((5, 4, 7))])
def test_what_is_no_picture_is_an_error(thing: object) -> None:
    with pytest.raises(PredictionError, match=r"no image|is not an image"):
        names(thing)


# -- the internet ----------------------------------------------------------------------------------------


class Server(http.server.BaseHTTPRequestHandler):
    """A server with a picture and several ill wills."""

    def do_GET(self) -> None:
        port = self.server.server_address[1]  # type: ignore[index]
        redirects = {
            "/same": "/picture.png",
            "/file": "file:///etc/passwd",
            "/neighbour": f"http://localhost:{port}/picture.png",
            "/loop": "/loop",
        }
        if self.path in redirects:
            self.send_response(302)
            self.send_header("Location", redirects[self.path])
            self.end_headers()
            return
        if self.path == "/picture.png":
            data = io.BytesIO()
            Image.new("RGB", (8, 8), "red").save(data, "PNG")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data.getvalue())
            return
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_addresses_are_refused_unless_asked_for() -> None:
    with pytest.raises(PredictionError, match="internet") as caught:
        names("https://example.org/cat.jpg")
    assert "urls=True" in caught.value.fix
    assert names("https://example.org/cat.jpg", urls=True) == ["https://example.org/cat.jpg"]


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://example.org/a.jpg", "data://x", "s3://bucket/a.jpg"])
def test_other_schemes_are_refused_even_then(address: str) -> None:
    with pytest.raises(PredictionError, match="only http and https"):
        names(address, urls=True)


def test_a_picture_is_fetched_and_followed_on_its_own_server(server: str) -> None:
    assert fetch(f"{server}/picture.png") == fetch(f"{server}/same")


@pytest.mark.parametrize(
    ("path", "reason"), [("/none", "404"), ("/file", "file:"), ("/neighbour", "private address"), ("/loop", "302")]
)
def test_what_a_server_may_not_do(server: str, path: str, reason: str) -> None:
    with pytest.raises(OSError, match=reason):
        fetch(server + path)


def test_a_large_answer_is_cut_off(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES", 20)
    with pytest.raises(OSError, match="larger"):
        fetch(f"{server}/picture.png")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.png", "http://", "http://[bad/x", "http://a b/x"])
def test_an_address_that_leads_nowhere_is_an_oserror(url: str) -> None:
    with pytest.raises(OSError):
        fetch(url)
