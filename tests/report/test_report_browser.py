"""Layout of the page in a browser: no horizontal scrolling, no console message."""

import json
import re
import shutil
import subprocess

import pandas as pd
import pytest
from made_sweep import ARMS, write_sweep

from semilung.report import write_html
from semilung.report.cohort import write_cohort_page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

FRAME = """<!DOCTYPE html><iframe id="f" src="{page}" style="width:{width}px;height:900px"></iframe>
<pre id="result"></pre><script>
const frame = document.getElementById("f");
frame.onload = () => {{
  const inner = frame.contentDocument, root = inner.documentElement;
  const images = [...inner.images].filter(image => !(image.complete && image.naturalWidth)).length;
  const out = [...inner.querySelectorAll("body *")].filter(e => !e.closest(".scroll, pre, .skip")
    && e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.tagName);
  const cut = [...inner.querySelectorAll(".scroll")]
    .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.parentElement.id);
  document.getElementById("result").textContent =
    `scroll=${{root.scrollWidth}} client=${{root.clientWidth}} ` +
    `broken=${{images}} out=${{out}} cut=${{cut}};`;
}};
</script>"""


@pytest.fixture(scope="module")
def wide_page(tmp_path_factory):
    """A page with wide tables: long names, many settings and arms."""
    long, (_, *rest) = "long_name_of_a_strategy", ARMS["supervised"]
    arms = {f"{name}+{long}": (("supervised", name, long), *rest) for name in "abcdefg"}
    folder = tmp_path_factory.mktemp("wide") / "s"
    sweep = write_sweep(folder, seeds=(0,), budgets=(4, 16), arms={**ARMS, **arms})
    for run in sorted((sweep / "runs").iterdir()):
        note = {"probe": {"status": "warning", "summary": "word " * 30, "advice": "x" * 90}}
        (run / "audits.json").write_text(json.dumps(note))
    (sweep / "failures.csv").write_text(f"run,arm,message\nx,mil,{'lost ' * 40}{'y' * 200}\n")
    return write_html([sweep])


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1280, 800, 400])
def test_page_at_any_width_is_not_cut_off_and_logs_nothing(wide_page, tmp_path, width):
    assert_fits(wide_page, tmp_path, width)


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
def test_cohort_page_of_a_phone_is_not_cut_off_and_logs_nothing(phantom, tmp_path):
    table = pd.read_csv(phantom, dtype=str, keep_default_na=False)
    for column in ("image", "mask", "anatomy"):
        table[column] = [path and str(phantom.parent / path) for path in table[column]]
    table["case"] = [f"a_long_name_{'of_a_scan' * 8}_{i}" for i in range(len(table))]
    table["cohort"] = [f"cohort_{'x' * 40}_{i}" for i in range(len(table))]
    table.loc[0, "image"] = f"{'gone' * 40}.nii.gz"
    table.to_csv(tmp_path / "m.csv", index=False)
    page = write_cohort_page(tmp_path / "m.csv", tmp_path / "page.html", progress=False).path
    assert_fits(page, tmp_path, 400)


def assert_fits(page, tmp_path, width):
    """Open the page in a frame of that width and look for what is cut off."""
    outer = tmp_path / "outer.html"
    outer.write_text(FRAME.format(page=page.as_uri(), width=width))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000", "--dump-dom", outer.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    pattern = r"scroll=(\d+) client=(\d+) broken=(\d+) out=(.*?) cut=(.*?);"
    result = re.search(pattern, done.stdout)
    assert result, done.stderr[-2000:]
    scroll, client, broken, out, cut = result.groups()
    assert int(scroll) <= int(client)
    assert (broken, out, cut) == ("0", "", "")
    assert "CONSOLE" not in done.stderr
