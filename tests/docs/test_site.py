"""The documentation as a site: built strictly, and without anything from elsewhere."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import pytest
from docs_pages import ROOT

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements that a browser loads with a page, and the attribute with their address."""


class Loaded(HTMLParser):
    """Addresses that a browser loads with a page, and its inline styles."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if (address := attributes.get(LOADED.get(tag))) is not None:
            self.addresses.append(address)


def external(html):
    """Return what a page loads from elsewhere."""
    parser = Loaded()
    parser.feed(html)
    styles = re.findall(r"<style.*?</style>|style=\"[^\"]*\"", html, re.DOTALL)
    imports = [url for style in styles for url in addresses(style)]
    return [url for url in [*parser.addresses, *imports] if re.match(r"(\w+:)?//", url)]


def addresses(css):
    """Return the addresses that a style sheet loads."""
    return re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", css)


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://unpkg.com/mermaid.js"></script>',
        '<link rel="preconnect" href="https://fonts.gstatic.com" crossorigin>',
        '<img src="//example.org/x.png">',
        "<style>@import 'https://fonts.googleapis.com/css';</style>",
        '<p style="background: url(https://example.org/x.png)">',
    ],
)
def test_external_names_what_a_page_loads_from_elsewhere(html):
    assert len(external(html)) == 1
    assert external('<a href="https://example.org"><img src="images/x.png"></a>') == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site; a warning is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


@pytest.mark.slow
def test_site_builds_strictly_and_loads_nothing_from_elsewhere(site):
    pages = {page.relative_to(site): page.read_text() for page in site.rglob("*.html")}
    assert len(pages) > 50
    assert {name: urls for name, html in pages.items() if (urls := external(html))} == {}
    sheets = [url for sheet in site.rglob("*.css") for url in addresses(sheet.read_text())]
    assert [url for url in sheets if re.match(r"(\w+:)?//", url)] == []
    assert [name for name, html in pages.items() if 'class="mermaid"' in html] == []


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""

FRAME = """<!DOCTYPE html><iframe id="f" style="width:{width}px;height:900px"></iframe>
<pre id="result"></pre><script>
const pages = {pages}, frame = document.getElementById("f");
const result = document.getElementById("result");
let page = 0;
frame.onload = () => {{
  const inner = frame.contentDocument, edge = inner.documentElement.clientWidth;
  const out = [...inner.querySelectorAll(".md-content *")].filter(
    e => !e.closest("pre, .md-typeset__scrollwrap, .formula")
      && e.getBoundingClientRect().width && e.getBoundingClientRect().right > edge + 1);
  const broken = [...inner.images].filter(image => !(image.complete && image.naturalWidth));
  if (inner.documentElement.scrollWidth > edge || out.length || broken.length)
    result.textContent += `${{pages[page]}}: ${{out.map(e => e.tagName)}} ${{broken.length}}; `;
  if (++page < pages.length) frame.src = pages[page]; else result.textContent += "done";
}};
frame.src = pages[0];
</script>"""


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1280, 400])
def test_pages_at_any_width_do_not_scroll_sideways(site, tmp_path, width):
    pages = [page.as_uri() for page in sorted(site.rglob("*.html")) if page.stem != "404"]
    outer = tmp_path / "outer.html"
    outer.write_text(FRAME.format(pages=json.dumps(pages), width=width))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=600000", "--dump-dom",
        outer.as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    assert unescape(re.search(r'<pre id="result">(.*?)</pre>', shown)[1]) == "done"


@pytest.mark.slow
def test_site_draws_formulas_and_tables_and_leaves_no_mark(site):
    page = (site / "strategies/mean_teacher.html").read_text()
    assert 'class="formula block"' in page
    assert "<td><code>uncertainty_<wbr>passes</code></td>" in page
    assert 'href="../results/lidc_cubes.html"' in page
    for html in site.rglob("*.html"):
        assert not re.search(r"<!-- table|class=\"arithmatex\"", html.read_text()), html
