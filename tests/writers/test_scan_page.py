"""Pages of scans, and their index."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from made_findings import ball, made_result

from semilung.data import Volume
from semilung.evaluation.overlay import png_bytes
from semilung.writers import scan_page
from semilung.writers.finding_pictures import finding_pictures
from semilung.writers.findings_json import write_findings_json
from semilung.writers.scan_page import write_index, write_scan_page
from semilung.writers.scan_result import NOT_A_DEVICE, ScanResult

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), "")
SHAPE = (48, 48, 40)
NAME = "<img src=x onerror=alert(1)>&\u202e"


def scan(count, name="scan"):
    probability = np.zeros(SHAPE)
    for k in range(count):
        probability[ball(SHAPE, (10 + 12 * (k % 3), 12 + 12 * (k // 3), 20), 3)] = 0.9 - 0.05 * k
    hu = np.where(probability > 0, 40, -850).astype(np.int16)
    return made_result(Volume(hu, np.diag([-0.7, -0.7, 1.5, 1])), probability, name)


def page_of(result, path, pictures=()):
    write_scan_page(path, result, pictures)
    return path.read_text()


class Tags(HTMLParser):
    """Tags, and all addresses that a page loads or links."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "style")]


def test_write_scan_page_is_self_contained_and_lists_each_finding(tmp_path):
    result = scan(3)
    pictures = [png_bytes(picture) for picture in finding_pictures(result)]
    text = page_of(result, tmp_path / "a.html", pictures)
    page = Tags(text)
    assert page.tags.count("img") == 6  # a thumbnail and a picture each
    assert all(re.match(r"data:image/png;base64,|#", address) for address in page.addresses)
    assert "script" not in page.tags
    assert not re.search(r"url\(|@import|https?:", text)
    for expected in (
        NOT_A_DEVICE,
        "a_run",
        "0.25",
        "0.7 \N{MULTIPLICATION SIGN} 0.7",
        "48 \N{MULTIPLICATION SIGN} 48",
    ):
        assert expected in text
    for row in result.findings.to_dict("records"):
        assert f"{row['diameter_mm']:.1f} mm" in text
        assert f"{row['coordX']:.1f}, {row['coordY']:.1f}, {row['coordZ']:.1f}" in text


def test_write_scan_page_links_lead_from_the_table_to_the_pictures_and_back(tmp_path):
    text = page_of(scan(3), tmp_path / "a.html", [b"png", b"png"])
    targets = [address for address in Tags(text).addresses if address.startswith("#")]
    assert targets == [
        "#finding-1", "#finding-2", "#row-1", "#finding-2", "#row-2", "#finding-1"
    ]  # fmt: skip
    assert {f"#{name}" for name in re.findall(r' id="([^"]+)"', text)} >= set(targets)


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, ["components of the mask", ">threshold<", "centre, LPS+ mm", "7.0, 8.4, 30.0"]),
        (
            {"centres": True, "labels": None, "min_probability": 0.2, "frame": "ras"},
            ["predicted centres", ">least probability<", "centre, RAS+ mm", "-7.0, -8.4, 30.0"],
        ),
    ],
)
def test_write_scan_page_says_what_the_findings_are_and_in_which_frame(tmp_path, options, texts):
    result = replace(scan(1), **options)
    text = page_of(result, tmp_path / "a.html")
    assert [words for words in texts if words not in text] == []
    assert (">threshold<" in text) == (not result.centres)
    assert "21 of 40" in text  # the axial slice, from the feet


def test_write_scan_page_without_findings_says_so(tmp_path):
    text = page_of(scan(0), tmp_path / "a.html")
    assert "No findings" in text
    assert NOT_A_DEVICE in text
    assert "table" not in Tags(text).tags


def test_write_scan_page_escapes_names_of_scan_and_run(tmp_path):
    source = scan(1)
    result = ScanResult(NAME, source.volume, source.findings, run="<script>alert(2)</script>")
    text = page_of(result, tmp_path / "a.html")
    assert not {"img", "script"} & set(Tags(text).tags)
    assert "\u202e" not in text
    assert "&lt;img src=x" in text


def test_write_scan_page_of_many_findings_shows_the_first_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(scan_page, "MAX_ROWS", 2)
    text = page_of(scan(5), tmp_path / "a.html", [b"png"])
    assert Tags(text).tags.count("tr") == 3
    assert "The 2 most probable of 5 findings" in text
    assert "The first 1 findings are shown" in text


def test_write_index_lists_the_scans_that_have_a_page_with_their_counts(tmp_path):
    for name, count in (("b", 3), ("a #1?", 0), ("without", 1)):
        result = scan(count, name)
        write_findings_json(tmp_path / f"{name}_findings.json", result, mask=None, labelled=False)
        if name != "without":
            page_of(result, tmp_path / f"{name}.html")
    (tmp_path / "bad_findings.json").write_text("{")
    (tmp_path / "other_findings.json").write_text(json.dumps([1]))
    for name in ("bad", "other"):
        (tmp_path / f"{name}.html").touch()
    text = write_index(tmp_path).read_text()
    assert Tags(text).addresses == ["a%20%231%3F.html", "b.html"]
    assert "Findings of 2 scans" in text
    for column, expected in (
        ("findings", ["0", "3"]),
        ("largest diameter", ["", "5.6 mm"]),
        ("highest probability", ["", "0.90"]),
    ):
        assert re.findall(f'data-label="{column}">([^<]*)<', text) == expected


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1280, 400])
def test_scan_page_in_a_browser_does_not_scroll_sideways(tmp_path, width):
    result = scan(6, "a_scan_with_a_long_name_" * 5)
    page_of(result, tmp_path / "a.html", [png_bytes(p) for p in finding_pictures(result)])
    (tmp_path / "outer.html").write_text(
        f'<iframe id="f" src="a.html" style="width:{width}px;height:900px"></iframe>'
        '<pre id="r"></pre><script>const f = document.getElementById("f"); f.onload = () => {'
        "const d = f.contentDocument, e = d.documentElement;"
        "const broken = [...d.images].filter(i => !i.naturalWidth).length;"
        'document.getElementById("r").textContent = '
        "`scroll=${e.scrollWidth} client=${e.clientWidth} broken=${broken};`;};</script>"
    )
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom",
        (tmp_path / "outer.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    scroll, client, broken = re.search(
        r"scroll=(\d+) client=(\d+) broken=(\d+);", done.stdout
    ).groups()
    assert int(scroll) <= int(client)
    assert broken == "0"
