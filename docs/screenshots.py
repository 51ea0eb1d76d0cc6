"""Make the README's pictures and the quickstart's outputs: it is run in a real JupyterLab, shown light and dark.

pip install -e ".[test]" && python docs/screenshots.py
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.conftest import CHROMIUM_FLAGS, Lab, start_server, stop_server  # noqa: E402

#: name of the picture -> index of the quickstart's cell whose output it shows
SHOTS = {"data": 5, "train": 7, "evaluate": 9, "predict": 11, "grid": 13}
WIDTH = 1100
MAX_BYTES = 120_000
QUICKSTART_MS = 600_000


def main() -> None:
    """Run the notebook, keep it with its outputs, and save one small PNG for each of them."""
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = start_server(Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        try:
            shutil.copy(ROOT / "examples" / "quickstart.ipynb", server.folder)
            # high enough for the longest output, sharp enough for a fine screen
            page = browser.new_page(viewport={"width": WIDTH, "height": 1500}, device_scale_factor=1.5)
            lab = Lab(server, page)
            lab.visit()
            lab.js("await app.commands.execute('application:toggle-left-area')")
            lab.open("quickstart.ipynb")
            lab.run_all(QUICKSTART_MS)
            lab.save()
            shutil.copy(server.folder / "quickstart.ipynb", ROOT / "examples")
            for theme in ("JupyterLab Light", "JupyterLab Dark"):
                lab.js("await app.commands.execute('apputils:change-theme', {theme: argument})", theme)
                lab.page.wait_for_timeout(1500)
                dark = "-dark" if theme.endswith("Dark") else ""
                for name, cell in SHOTS.items():
                    path = images / f"{name}{dark}.png"
                    lab.output(cell).locator(".jp-OutputArea-output").last.screenshot(path=path)
                    shrink(path)
                    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")
        finally:
            browser.close()
            stop_server(server)


def shrink(path: Path) -> None:
    """Take as few colours as it needs to be small."""
    picture = Image.open(path).convert("RGB")
    for colours in (96, 48, 24):
        picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < MAX_BYTES:
            return


if __name__ == "__main__":
    main()
