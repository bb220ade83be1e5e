"""One table of the findings of all scans in a folder."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_findings import ball, made_result

from semilung.csv_tables import write_csv
from semilung.data import Volume
from semilung.types import UserError
from semilung.writers.findings_folder import (
    require_common_tables,
    scan_records,
    write_common_tables,
)
from semilung.writers.findings_json import write_findings_json
from semilung.writers.frames import in_frame

SHAPE = (24, 12, 12)


def add(folder, name, count, **options):
    """Write table and JSON of a scan with some findings."""
    probability = np.zeros(SHAPE)
    for k in range(count):
        probability[ball(SHAPE, (4 + 7 * k, 6, 6), 2)] = 0.9 - 0.1 * k
    result = made_result(Volume(np.zeros(SHAPE, np.int16), np.eye(4)), probability, name)
    result = replace(result, **options)
    write_findings_json(folder / f"{name}_findings.json", result, mask=None, labelled=False)
    write_csv(folder / f"{name}_findings.csv", in_frame(result.findings, result.frame))


def test_write_common_tables_lists_all_scans_of_the_folder_in_order(tmp_path):
    for name, count in (("b", 2), ("=cmd", 1), ("007", 0)):
        add(tmp_path, name, count)
    add(tmp_path, "killed", 1)
    (tmp_path / "killed_findings.csv").unlink()
    (tmp_path / "users_findings.csv").write_text("a,b\n1,2\n")
    (tmp_path / "damaged_findings.json").write_text("{")
    findings, scans = write_common_tables(tmp_path)
    table = pd.read_csv(findings, dtype=str)
    assert table["seriesuid"].tolist() == ["'=cmd", "b", "b"]  # as in the scan's tables table
    assert table["label"].tolist() == ["1", "1", "2"]
    tables = [
        (tmp_path / f"{name}_findings.csv").read_text().split("\n", 1) for name in ("=cmd", "b")
    ]
    assert findings.read_text() == tables[0][0] + "\n" + tables[0][1] + tables[1][1]
    assert scans.read_text() == "seriesuid,findings\n007,0\n'=cmd,1\nb,2\n"


def test_write_common_tables_again_replaces_what_was_predicted_anew(tmp_path):
    add(tmp_path, "a", 2)
    write_common_tables(tmp_path)
    add(tmp_path, "a", 1)
    add(tmp_path, "b", 0)
    findings, scans = write_common_tables(tmp_path)
    assert len(pd.read_csv(findings)) == 1
    assert pd.read_csv(scans)["findings"].tolist() == [1, 0]


def test_write_common_tables_without_any_finding_keeps_the_header(tmp_path):
    add(tmp_path, "a", 0)
    findings, _ = write_common_tables(tmp_path)
    assert findings.read_text() == (tmp_path / "a_findings.csv").read_text()


def test_write_common_tables_warns_of_damaged_tables_and_of_several_runs(tmp_path):
    add(tmp_path, "a", 1)
    add(tmp_path, "b", 1, run="another")
    with pytest.warns(UserWarning, match="several runs, a_run, another, which are in one"):
        write_common_tables(tmp_path)
    add(tmp_path, "b", 1)
    for text in ("", "seriesuid\nb\n"):
        (tmp_path / "b_findings.csv").write_text(text)
        with pytest.warns(UserWarning, match="b_findings.csv is no table of findings"):
            findings, _ = write_common_tables(tmp_path)
        assert pd.read_csv(findings)["seriesuid"].tolist() == ["a"]


def test_require_common_tables_refuses_two_frames_in_one_table(tmp_path):
    add(tmp_path, "a", 1, frame="ras")
    require_common_tables(tmp_path, "ras", (), overwrite=False)
    require_common_tables(tmp_path, "lps", ("a",), overwrite=True)
    with pytest.raises(UserError, match=r"findings of a in RAS\+.*with LPS\+; give --frame ras"):
        require_common_tables(tmp_path, "lps", ("b",), overwrite=True)


@pytest.mark.parametrize("name", ["findings.csv", "scans.csv"])
def test_require_common_tables_refuses_to_replace_another_table(tmp_path, name):
    (tmp_path / name).write_text("x\n1\n")
    with pytest.raises(UserError, match=f"has a {name} that is not of scans in this folder"):
        require_common_tables(tmp_path, "lps", (), overwrite=False)
    require_common_tables(tmp_path, "lps", (), overwrite=True)
    add(tmp_path, "a", 1)
    require_common_tables(tmp_path, "lps", (), overwrite=False)


def test_scan_records_of_a_folder_that_does_not_exist_are_none(tmp_path):
    assert list(scan_records(tmp_path / "new")) == []
