"""Code blocks, commands, settings, paths and links of README, CONTRIBUTING and docs/."""

import ast
import contextlib
import doctest
import io
import re
import shutil
from argparse import Namespace
from functools import cache
from html import unescape
from inspect import signature
from pathlib import Path

import markdown
import pytest
from docs_pages import PAGES, ROOT, blocks, commands, inline_code, links, plain_words
from house_words import PROSE, REAL_USES
from tiny_settings import TINY

import semilung
from semilung.ablation.cells import cells_of
from semilung.ablation.sweep_request import read_request
from semilung.cli import _parser
from semilung.cli.ablate import ABLATE
from semilung.cli.parser import SettingsParser
from semilung.cli.settings import split_settings
from semilung.cli.train import _parser as train_parser
from semilung.config.compose import Composer
from semilung.config.settings_table import settings
from semilung.data import read_manifest
from semilung.data.importers import importers
from semilung.losses import __all__ as losses
from semilung.strategies import list_strategies

THIRD_PARTY = {"yourlab/configs": ROOT / "tests/third_party/yourlab/configs"}
TEACHING = {"sure", "mynet", "mean_hu", "yours"}
"""Names that CONTRIBUTING makes up: `tests/test_third_party.py` installs and runs them."""

EXPORTED = {"model.safetensors", "model.ts", "configs/inference.json"}
"""Files of exports, which look like settings or paths of the repository."""

SETTING = re.compile(
    r"(data|augment|model|tasks|strategies|optim|trainer|inference|evaluation)\.[\w.]+(=\S*)?"
)
PATH = re.compile(r"(semilung|configs|tests|experiments|docs)/[\w./-]+")
page_ids = [str(page.relative_to(ROOT)) for page in PAGES]
each_page = pytest.mark.parametrize("page", PAGES, ids=page_ids)


@cache
def composer(config_dir=None):
    return Composer(config_dir)


@cache
def compose(words, config_dir=None):
    """Compose and check a training's config as the command does."""
    return composer(config_dir).command(list(words))


def parse(parser, words):
    """Parse words; an error of the command line is an assertion with its message."""
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return parser(words)
    except SystemExit as stop:
        raise AssertionError(message.getvalue().splitlines()[-1]) from stop


def check_command(words):
    """Raise if a command line of `semilung` has an option, setting or value that there is not."""
    if words == ["semilung"] or {"--help", "--version"} & set(words):
        return
    command, *rest = words[1:]
    if set(rest) & TEACHING or any(set(re.split(r"\W", word)) & TEACHING for word in rest):
        return
    if command == "train":
        arguments = parse(train_parser("").parse_words, rest)
        compose(tuple(arguments.settings))
    elif command == "ablate":
        parser = SettingsParser(prog="semilung ablate", description=ABLATE, metavar="key=value")
        arguments = parse(parser.parse_words, rest)
        request = read_request(arguments.settings, tree=composer().tree)
        checked = set()
        for cell in cells_of(request, healthy=True):
            if not checked.issuperset(cell.overrides):  # not each combination: each word once
                compose(tuple(cell.overrides))
                checked |= {*cell.overrides}
    else:
        check_plain_command(words[1:])


def check_plain_command(words):
    """Check a command of plain arguments and, for some, settings."""
    given, words = split_settings(words)
    arguments = Namespace(settings=given)
    parse(lambda rest: _parser().parse_command(rest, arguments), words)
    if words[:2] == ["data", "import"]:
        known = signature(importers[arguments.format]).parameters
        assert {word.partition("=")[0] for word in given} <= set(known), arguments.format
    elif words[:2] == ["data", "prepare"]:
        compose(tuple(f"data.{word}" for word in given))
    else:
        compose(tuple(given))


@each_page
def test_shell_commands_parse_with_options_and_settings_that_exist(page):
    for block in blocks(page):
        for words in commands(block):
            if "semilung" in words[:4] and words[0] in ("semilung", "torchrun", "python", "srun"):
                words = words[words.index("semilung") :]
            with describing(f"{block.place}: {' '.join(words)}"):
                if words[:1] == ["semilung"] and "FORMAT" not in words:
                    check_command(words)
                elif words[:1] == ["make"]:
                    assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
                for word in words:
                    assert_path(word)


@each_page
def test_commands_are_drawn_as_code(page):
    """An indented block that follows a list is a paragraph of the list: it needs a fence."""
    extensions = ["tables", "sane_lists", "pymdownx.superfences"]
    html = markdown.markdown(page.read_text(), extensions=extensions)
    drawn = "".join(
        re.findall(r"<pre>.*?</pre>|<div class=\"highlight\">.*?</div>", html, re.DOTALL)
    )
    drawn = unescape(re.sub(r"<[^>]*>", "", drawn))
    lines = [line for block in blocks(page) for line in block.code.splitlines()]
    assert [line for line in lines if line.startswith("semilung ") and line not in drawn] == []


@each_page
def test_inline_commands_name_options_and_settings_that_exist(page):
    for code in inline_code(page):
        words = plain_words(code)
        if words[:1] != ["semilung"] or len(words) < 3 or re.search(r"FORMAT|COMMAND|NAME", code):
            continue
        with describing(code):
            if "..." in code:
                continue
            try:
                check_command(words)
            except AssertionError as error:  # an abbreviated command lacks arguments
                if "are required" not in str(error):
                    raise


@each_page
def test_inline_settings_and_paths_exist(page):
    for code in inline_code(page):
        with describing(code):
            if code in EXPORTED:
                continue
            if SETTING.fullmatch(code) and not re.search(r"NAME|\*|<|_SET", code):
                check_setting(code)
            assert_path(code)


def check_setting(code):
    key, _, value = code.partition("=")
    group, name, *_ = [*key.split("."), ""]
    words = [f"strategy={name}"] if group == "strategies" else []
    if key.startswith("strategies.") and key.count(".") == 1:
        assert name in list_strategies(), name
    elif value:
        compose((*words, code))
    elif group in ("strategies", "model"):
        options = composer().compose(words)[group]
        assert (key.split(".")[2] in options[name]) if group == "strategies" else name in options
    else:
        names = {setting.name for setting in settings()} | {
            f"data.batch.{s}" for s in ("healthy", "weak", "located")
        }
        assert key in names or any(other.startswith(f"{key}.") for other in names)


def assert_path(word):
    """Raise if a word is a path in the repository that is not there."""
    if (
        PATH.fullmatch(word)
        and word not in EXPORTED
        and not re.search(r"test_<|yourlab|/$", word)
        and "NAME" not in word
    ):
        assert set(re.split(r"[/.]", word)) & TEACHING or (ROOT / word).exists(), (
            f"{word} is not in the repository"
        )


@contextlib.contextmanager
def describing(place):
    """Add the place to the message of any exception."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{place}: {error}") from error


@each_page
def test_links_lead_to_files(page):
    missing = [target for target in links(page) if not (page.parent / target).exists()]
    built = {"contributing.md", "changelog.md"}  # pages of the site alone
    assert set(missing) <= built


@each_page
def test_words_of_the_glossary_are_used(page):
    if page.name == "CONTRIBUTING.md":  # it lists the others
        return
    text = REAL_USES.sub("", page.read_text())
    assert [match[0] for match in PROSE.finditer(text)] == []


@each_page
def test_python_blocks_compile(page):
    for block in blocks(page):
        if block.language in ("python", "py") and ">>>" not in block.code:
            with describing(block.place):
                ast.parse(block.code)


@pytest.fixture
def workplace(phantom, trained, described, tmp_path, monkeypatch):
    """A folder with the files that examples name, and trainings of a second."""
    monkeypatch.chdir(tmp_path)
    case = next(case for case in read_manifest(phantom) if case.mask)
    scan = case.image
    shutil.copy(scan, "scan.nii.gz")
    shutil.copytree(phantom.parent, "cohort")
    shutil.copytree(phantom.parent, ".", dirs_exist_ok=True)
    for name in ("mt", "a", "b"):
        shutil.copytree(trained, Path("runs") / name)
    shutil.copytree(described, "runs/described")
    Path("scans").mkdir()
    shutil.copy(scan, "scans/chest.nii.gz")
    shutil.copy(case.mask, "mask.nii.gz")
    x, y, z = case.nodules[0].centre_mm
    row = f"chest,{-x},{-y},{z},{case.nodules[0].diameter_mm}"
    Path("findings.csv").write_text(f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{row}\n")
    semilung.predict("runs/mt", "scans/chest.nii.gz", "predictions")
    train = semilung.train
    tiny = [*TINY, "trainer.max_steps=2", f"data.manifest={phantom}"]
    monkeypatch.setattr(
        semilung, "train", lambda words, **more: train([*words, *tiny], **more), raising=False
    )
    return tmp_path


RUN = [page for page in PAGES if page.name != "CONTRIBUTING.md"]
RUN = [page for page in RUN if any(block.language in ("python", "py") for block in blocks(page))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_python_blocks_run_in_order(page, workplace, capsys):
    names = {"__name__": "docs"}
    for block in blocks(page):
        if block.language not in ("python", "py") or not block.is_run:
            continue
        if ">>>" in block.code:
            test = doctest.DocTestParser().get_doctest(block.code, names, block.place, None, None)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            assert runner.run(test, clear_globs=False).failed == 0, capsys.readouterr().out
        else:
            exec(compile(block.code, block.place, "exec"), names)


def test_every_strategy_format_and_loss_has_its_page():
    strategies = {path.stem for path in (ROOT / "docs/strategies").glob("*.md")}
    assert strategies >= set(list_strategies())
    formats = (ROOT / "docs/data/index.md").read_text()
    assert [name for name in importers if f"[`{name}`](" not in formats] == []
    text = (ROOT / "docs/losses.md").read_text()
    assert [name for name in losses if f"`{name}`" not in text] == []


def test_lists_begin_after_a_blank_line():
    """Without one, the site draws the list as part of the paragraph above it."""
    run_in = re.compile(
        r"(?:^|\n\n)(?!- |\d+\. |[ #|`<])[^\n]+(?:\n(?!- |\d+\. )[^\n]+)*\n(?:- |\d+\. )"
    )
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    assert [page.name for page in pages if run_in.search(page.read_text())] == []


def test_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs/images").iterdir()}
    assert {name: size for name, size in sizes.items() if size > 250_000} == {}
