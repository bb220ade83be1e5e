"""What a browser makes of the page: no sideways scroll, no complaint."""

import re
import shutil
import subprocess

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

FRAME = """<!DOCTYPE html><iframe id="f" src="{page}" style="width:{width}px;height:900px"></iframe>
<pre id="found"></pre><script>
const frame = document.getElementById("f");
frame.onload = () => {{
  const inner = frame.contentDocument, root = inner.documentElement;
  const images = [...inner.images].filter(image => !(image.complete && image.naturalWidth)).length;
  const out = [...inner.querySelectorAll("body *")].filter(e => !e.closest(".scroll, pre, .skip")
    && e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.tagName);
  document.getElementById("found").textContent =
    `scroll=${{root.scrollWidth}} client=${{root.clientWidth}} broken=${{images}} out=${{out}};`;
}};
</script>"""


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
@pytest.mark.parametrize("width", [1280, 800, 400])
def test_nothing_is_cut_off_and_nothing_complains(page, tmp_path, width):
    outer = tmp_path / "outer.html"
    outer.write_text(FRAME.format(page=page.as_uri(), width=width))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000", "--dump-dom", outer.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"scroll=(\d+) client=(\d+) broken=(\d+) out=(.*?);", done.stdout)
    assert found, done.stderr[-2000:]
    scroll, client, broken, out = found.groups()
    assert int(scroll) <= int(client)
    assert (broken, out) == ("0", "")
    assert "CONSOLE" not in done.stderr
