"""Project rules that no linter checks."""

import ast
import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import house_words
import pytest
import yaml
from covered_by import COVERED_BY
from house_words import PROSE, old_words

from semilung.models import models
from semilung.strategies import list_strategies
from semilung.strategies.core.strategy import strategies

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "semilung").rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("folder", ["semilung", "tests", "experiments"])
def test_no_file_is_over_400_lines(folder):
    sizes = {
        str(path): len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: size for path, size in sizes.items() if size > 400} == {}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_runs_a_config_or_an_unsafe_checkpoint(path):
    unsafe = r"weights_only=False|hydra\.utils|instantiate\(|pickle\.load|\beval\((?!\))|\.cuda\("
    assert not re.findall(unsafe, path.read_text())


def options(factory):
    """Option names and defaults of a factory, keyword-only ones for strategies."""
    return {
        name: list(p.default) if isinstance(p.default, tuple) else p.default
        for name, p in inspect.signature(factory).parameters.items()
        if p.default is not inspect.Parameter.empty
    }


@pytest.mark.parametrize("name", list_strategies())
def test_a_strategys_yaml_states_its_own_defaults(name):
    tasks = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs/tasks").glob("*.yaml")]
    bases = {key: value for task in tasks for key, value in task["strategies"].items()}
    path = ROOT / "configs/strategy" / f"{name}.yaml"
    stated = bases[name] if name in bases else yaml.safe_load(path.read_text())
    defaults = options(strategies[name])
    assert set(stated) == set(defaults)
    literal = {key: value for key, value in stated.items() if not str(value).startswith("${")}
    assert literal == {key: defaults[key] for key in literal}  # the others follow another setting


FORMER = {"reversible_unet": {"padding": "zeros"}}
"""Defaults that hold for runs whose config does not have the setting yet."""


@pytest.mark.parametrize("name", list(models))
def test_a_models_yaml_states_its_own_defaults(name):
    stated = yaml.safe_load((ROOT / "configs/model" / f"{name}.yaml").read_text())
    assert stated.pop("name") == name
    defaults = options(models[name])
    former = FORMER.get(name, {})
    assert {**stated, **former} == {key: defaults[key] for key in stated}
    assert set(defaults) - set(stated) <= {"in_channels", "out_channels"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_yaml_parses(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


TESTS = {
    str(p.relative_to(ROOT / "tests").with_suffix("")) for p in ROOT.glob("tests/**/test_*.py")
}
MODULES = {
    str(path.relative_to(ROOT / "semilung").with_suffix(""))
    for path in SOURCES
    if path.stem != "__init__"
}


def named_tests(module):
    """Return the tests that a module may have by its name: `a/test_x` and `test_x` of `a/x`."""
    *folders, name = module.split("/")
    return {"/".join([*folders[:depth], f"test_{name}"]) for depth in range(len(folders) + 1)}


def untested(modules, tests, covered_by):
    """Return the violations of: a module has a test of its name, or a row in `covered_by`.

    The test is in the folder of the module's name or above it: others test a namesake.
    """
    without = {module for module in modules if not named_tests(module) & set(tests)}
    return [
        *(f"{module}: no test file and no row" for module in sorted(without - set(covered_by))),
        *(f"{module}: no such module" for module in sorted(set(covered_by) - set(modules))),
        *(f"{row}: needless row" for row in sorted((set(covered_by) & set(modules)) - without)),
        *(f"{row}: no test {test}" for row, test in covered_by.items() if test not in tests),
    ]


def test_every_module_has_a_test_of_its_name_or_a_row_in_covered_by():
    assert untested(MODULES, TESTS, COVERED_BY) == []


@pytest.mark.parametrize(
    ("covered_by", "violation"),
    [
        ({}, ["losses/dice: no test file and no row"]),
        ({"losses/dice": "test_gone"}, ["losses/dice: no test test_gone"]),
        (
            {"losses/dice": "losses/test_bag", "losses/old": "losses/test_bag"},
            ["losses/old: no such module"],
        ),
        (
            {"losses/dice": "losses/test_bag", "losses/bag": "losses/test_bag"},
            ["losses/bag: needless row"],
        ),
        ({"losses/dice": "losses/test_bag"}, []),
    ],
)
def test_untested_names_missing_stale_and_needless_rows(covered_by, violation):
    assert untested({"losses/dice", "losses/bag"}, {"losses/test_bag"}, covered_by) == violation


def test_named_tests_are_in_the_folder_of_the_module_or_above():
    tests = {"runs/test_cases", "test_cases"}
    assert named_tests("runs/cases") == tests
    assert untested({"runs/cases"}, {"data/test_cases"}, {}) != []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_words_of_the_glossary_are_used_in_code(path):
    assert old_words(path.read_text()) == []
    assert old_words(f"def {path.stem}(): ...") == []


@pytest.mark.parametrize(
    "path",
    sorted(set((ROOT / "tests/helpers").glob("*.py")) - {Path(house_words.__file__)}),
    ids=lambda path: path.stem,
)
def test_words_of_the_glossary_are_used_in_helpers_of_tests(path):
    assert old_words(path.read_text()) == []


def test_words_of_the_glossary_are_used_in_names_of_tests():
    names = {
        f"{path.name}: {node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if PROSE.search(node.name.replace("_", " "))
    }
    assert names == set()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('"""What a training is told."""', ["1: told"]),
        ("x = 1  # nobody reads it", ["1: nobody"]),
        ('"""Fine.\n\nBeside the point.\n"""', ["3: beside"]),
        ("raise ValueError(f'{n} faults')", ["1: faults"]),
        ("def judge(found): ...", ["1: found", "1: judge"]),
        ("class C:\n    def f(self):\n        self.seen = 1", ["3: seen"]),
        ("import x as told", ["1: told"]),
        ("figure = 1", ["1: figure"]),
        ("import matplotlib\nfigure = matplotlib.figure()", []),
        ("position = file.tell()\nhtml = '<figure>'", []),
        ("values = row['figures']", []),
        ('"""The file was not found."""', []),
    ],
)
def test_old_words_are_found_by_line_but_for_real_uses(source, words):
    assert old_words(source) == words


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_name_that_an_experiment_imports_from_semilung_exists(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semilung"):
            module = import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name) or find_spec(f"{node.module}.{name.name}")


GENERIC = [p for p in SOURCES if p.relative_to(ROOT / "semilung").parts[0] in
           ("training", "ablation", "report")]  # fmt: skip
TASK_NAMES = re.compile(r"supervised|dice|Dice|segmentation|(supervised|val)/\w*")


def names_of_a_task(source, *, prose=""):
    """Return `line: text` of strings that name a task's strategy, term or metric.

    Args:
        source: Python source; docstrings are not code.
        prose: A word that no other string may contain either.
    """
    tree = ast.parse(source)
    docstrings = {
        id(node.value) for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }  # fmt: skip
    return [
        f"{node.lineno}: {node.value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in docstrings and node.value != "val/overlay"
        if TASK_NAMES.fullmatch(node.value) or (prose and prose in node.value)
    ]


@pytest.mark.parametrize("path", GENERIC, ids=lambda p: str(p.relative_to(ROOT)))
def test_generic_code_names_no_strategy_term_or_metric(path):
    prose = "Dice" if "report" in path.parts else ""
    assert names_of_a_task(path.read_text(), prose=prose) == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('SCORE = "val/dice"', ["1: val/dice"]),
        ('x = table[f"terms/{name}"]', []),
        ('x = {"supervised/labelled": 1}', ["1: supervised/labelled"]),
        ('def f(metric="dice"): ...', ["1: dice"]),
        ('"""Of supervised."""\nx = 1', []),
        ('x = f"a Dice of {y}"', ["1: a Dice of "]),
    ],
)
def test_names_of_a_task_are_found_in_code_but_not_in_docstrings(source, names):
    assert names_of_a_task(source, prose="Dice") == names
