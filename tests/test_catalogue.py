"""Catalogue of `semilung list`, and the strategy table of the README, which equals it."""

from pathlib import Path

import pytest

from semilung.catalogue import KINDS, catalogue, markdown
from semilung.strategies import list_strategies

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("kind", KINDS)
def test_catalogue_entries_have_a_summary_and_needs(kind):
    entries = catalogue(kind)
    assert len(entries) >= (1 if kind == "tasks" else 2)
    for entry in entries:
        assert entry.summary.endswith("."), entry
        assert 15 < len(entry.summary) < 140, entry
        assert entry.needs, entry


def test_catalogue_needs_name_streams_teacher_and_labels():
    needs = {entry.name: entry.needs for entry in catalogue("strategies")}
    assert list(needs) == list_strategies()
    assert needs["supervised"] == "labelled, [healthy]"
    assert needs["mean_teacher"] == "unlabelled; teacher"


def test_readme_table_equals_the_catalogue():
    assert markdown("strategies") in README.read_text(), (
        "update the README's table with `semilung list strategies --markdown`"
    )
