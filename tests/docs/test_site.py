"""The documentation as a site: built strictly, and without anything from elsewhere."""

import re
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


@pytest.mark.slow
def test_site_draws_formulas_and_tables_and_leaves_no_mark(site):
    page = (site / "strategies/mean_teacher.html").read_text()
    assert 'class="formula block"' in page
    assert "<td><code>uncertainty_<wbr>passes</code></td>" in page
    assert 'href="../results/lidc_cubes.html"' in page
    for html in site.rglob("*.html"):
        assert not re.search(r"<!-- table|class=\"arithmatex\"", html.read_text()), html
