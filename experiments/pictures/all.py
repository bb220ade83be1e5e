"""Make the pictures of the documentation: a phantom scan, and parts of the demo's report.

    python experiments/pictures/all.py [DEMO]

DEMO is a folder that `experiments/demo.py` has written; without it, the demo runs (minutes). Needs
Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"
COLOURS = 128
"""Colours of a screenshot: few, so that files stay small."""

SHOTS = {
    "report.png": ("", 1190),
    "report_arms.png": ("arms", 1000),
    "report_cases.png": ("cases", 1250),
}
"""Picture to the section of the report at its top, and its height in pixels."""

FRAME = """<!DOCTYPE html><body style="margin:0;overflow:hidden">
<iframe id="page" src="{page}" style="border:0;width:1280px;height:99999px"></iframe><script>
const page = document.getElementById("page");
page.onload = () => {{
  const part = page.contentDocument.getElementById("{section}");
  const top = part ? part.getBoundingClientRect().top : 0;
  page.style.transform = `translateY(${{-top}}px)`;
}};
</script>"""


def main() -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        demo = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch, "demo")
        if not (page := demo / "report/index.html").exists():
            subprocess.run([sys.executable, ROOT / "experiments/demo.py", demo], check=True)
        phantom = [sys.executable, ROOT / "experiments/pictures/phantom.py", IMAGES / "phantom.png"]
        subprocess.run(phantom, check=True)
        for name, (section, height) in SHOTS.items():
            screenshot(page, section, height, IMAGES / name, Path(scratch))
            print(IMAGES / name, (IMAGES / name).stat().st_size)


def screenshot(page: Path, section: str, height: int, out: Path, scratch: Path) -> None:
    """Draw a page, or its part from a section on, 1280 pixels wide."""
    frame = scratch / "frame.html"
    frame.write_text(FRAME.format(page=page.resolve().as_uri(), section=section))
    browser = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
        *("--allow-file-access-from-files", "--virtual-time-budget=5000"),
        *(f"--user-data-dir={scratch / 'profile'}", f"--window-size=1280,{height}"),
    ]
    command = [browser, *options, f"--screenshot={scratch / 'shot.png'}", frame.as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(scratch / "shot.png") as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main()
