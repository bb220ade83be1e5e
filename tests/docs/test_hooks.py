"""Hooks of the documentation site: formulas, tables, and pages of the repository."""

import ast
import importlib.util
import re
from types import SimpleNamespace

import pytest
from docs_pages import ROOT


def hook(name):
    """Return a module of docs/hooks, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/hooks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FORMULAS, TABLES, PAGES = map(hook, ("formulas", "tables", "repository_pages"))


def documented_formulas():
    """Every formula of a docstring, with the name of its module."""
    for path in sorted((ROOT / "semilung").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                pattern = r"\$\$(.+?)\$\$|(?<![\$\w])\$([^$\n]+?)\$(?!\$)"
                for display, inline in re.findall(pattern, text, re.DOTALL):
                    yield path.stem, display or inline


def test_every_formula_of_a_docstring_is_drawn():
    formulas = list(documented_formulas())
    assert len(formulas) > 50
    for name, tex in formulas:
        assert "<path d=" in FORMULAS.formula(tex, block=True), name


def test_a_long_formula_is_drawn_in_parts_that_may_wrap():
    html = FORMULAS.on_page_content(r'<div class="arithmatex">\[a = b, \qquad c &lt; d\]</div>')
    assert html.count("<svg") == 2
    assert 'aria-label="a = b, \\qquad c &lt; d"' in html


@pytest.mark.parametrize("path", sorted((ROOT / "configs/strategy").glob("*.yaml")))
def test_options_of_a_strategy_are_all_in_its_table(path):
    names = re.findall(r"^(\w+): ", path.read_text(), re.MULTILINE)
    assert re.findall(r"^\| `(\w+)`", TABLES.options(path), re.MULTILINE) == names


def test_marks_of_tables_are_replaced_and_names_link_to_their_pages():
    text = TABLES.on_page_markdown("a\n\n<!-- table: strategies -->\n\nb")
    assert "| [`mil`](mil.md) |" in text
    assert "(decisions/0003-empty-masks.md)" in TABLES.table("decisions")


def test_names_in_tables_break_after_separators_alone():
    cell = TABLES.on_page_content("<td><code>data.lung_margin</code> a_b</td><code>a_b</code>")
    assert cell == "<td><code>data.<wbr>lung_<wbr>margin</code> a_b</td><code>a_b</code>"


@pytest.mark.parametrize(
    ("page", "link", "site"),
    [
        ("start.md", "[x](../experiments/RESULTS.md#labels)", "[x](results/lidc_cubes.md#labels)"),
        ("data/lidc.md", "[x](../../CONTRIBUTING.md)", "[x](../contributing.md)"),
        ("results/benchmarks.md", "![x](figures/reversible.svg)", "![x](reversible.svg)"),
        ("results/benchmarks.md", "[n](NOTES.md)", "[n](benchmark_notes.md)"),
        ("tasks.md", "[x](../README.md)", "[x](index.md)"),
        ("start.md", "[x](settings.md)", "[x](settings.md)"),
        ("clusters.md", "[demo.py](../experiments/demo.py)", "demo.py"),
        ("clusters.md", "[b](../experiments/demo.py)", "b (`experiments/demo.py`)"),
        ("start.md", "[x](nothing.md)", "[x](nothing.md)"),
        ("start.md", "[x](https://example.org)", "[x](https://example.org)"),
    ],
)  # fmt: skip
def test_links_of_the_repository_become_links_of_the_site(page, link, site):
    shown = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    assert PAGES.on_page_markdown(link, page=shown) == site
