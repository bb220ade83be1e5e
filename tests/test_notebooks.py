"""The notebooks of the documentation: stripped, small, and they run."""

import ast
import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra dev is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra dev is not installed")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb"))
TINY = {
    "first_look": "scans, size, spacing_mm, steps = 8, 32, 4.0, 2",
}
"""What replaces the cell `parameters` of each notebook."""


def cells_of(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def test_notebooks_are_those_with_parameters_for_the_test():
    assert {path.stem for path in NOTEBOOKS} == set(TINY)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stripped_small_and_valid(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 20_000
    for cell in cells_of(notebook, "code"):
        assert (cell.outputs, cell.execution_count) == ([], None)
        ast.parse(cell.source)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_with_small_parameters(path, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    for cell in cells_of(notebook, "code"):
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = TINY[path.stem]
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [output for cell in cells_of(notebook, "code") for output in cell.outputs]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert {"text/html", "image/png", "application/vnd.jupyter.widget-view+json"} <= kinds
    assert "error" not in {output.output_type for output in shown}
