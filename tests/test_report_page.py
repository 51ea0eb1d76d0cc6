"""The page stays small: thumbnails are capped in size and number, however many images and classes there are."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mb_jupyter import Report
from mb_jupyter.report.page import PICTURES
from mb_jupyter.report.pictures import LARGEST, SIDE
from tests.test_report_figures import write_run

JPEG = re.compile('data:image/jpeg;base64,([^"]+)')


def test_thumbnails_are_small_and_not_too_many(tmp_path: Path) -> None:
    rows = [("cat", "dog", 0.9), ("dog", "cat", 0.9), ("cat", "cat", 0.9), ("dog", "dog", 0.9)] * 100
    folder, data = write_run(tmp_path / "1", rows), tmp_path / "data"
    data.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)  # which hardly compresses
    Image.fromarray(noise).save(data / "0.png")
    for number in range(1, len(rows)):
        (data / f"{number}.png").hardlink_to(data / "0.png")
    (data / "4.png").unlink()
    report = Report.from_run(folder)
    page = report.to_html(tmp_path / "page.html").read_text("utf-8")
    pictures = [base64.b64decode(found) for found in JPEG.findall(page)]
    assert 24 < len(pictures) <= PICTURES[True]
    assert max(map(len, pictures)) <= LARGEST
    assert {max(Image.open(io.BytesIO(picture)).size) <= SIDE for picture in pictures} == {True}
    assert "1 image could not be opened where the run found it; its name stands instead." in page


@pytest.mark.parametrize("number", [3, 300])
def test_twenty_thousand_pictures(tmp_path: Path, number: int) -> None:
    random, names = np.random.default_rng(0), np.array([f"class {i:03d}" for i in range(number)])
    true = random.integers(0, number, 20_000)
    given = np.where(random.random(20_000) < 0.9, true, random.integers(0, number, 20_000))
    scores = np.full((20_000, number), 0.1 / (number - 1))
    scores[np.arange(20_000), given] = 0.9
    said = {"ImageSource": [f"{i}.jpg" for i in range(20_000)], "Label": names[true], "Prediction": names[given]}
    columns = pd.DataFrame(scores, columns=[f"Score.{name}" for name in names])
    report = Report.from_frame(pd.concat([pd.DataFrame(said), columns], axis=1))
    path = report.to_html(tmp_path / "page.html")
    assert path.stat().st_size < 3_000_000
    assert report.right == int((true == given).sum())
    assert f"{report.right:,} of 20,000 test images of {number} classes are right" in path.read_text("utf-8")
