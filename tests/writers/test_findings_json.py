"""Findings as JSON."""

import json

import numpy as np
import pandas as pd
import pytest
from made_findings import ball, made_result

from semilung.data import Volume
from semilung.writers.findings_json import findings_record, write_findings_json
from semilung.writers.frames import FRAMES
from semilung.writers.scan_result import ScanResult

SHAPE = (24, 22, 20)
AFFINE = np.array([[-0.7, 0, 0, 30], [0, -0.7, 0, 40], [0, 0, 2.0, -50], [0, 0, 0, 1.0]])


@pytest.fixture
def result():
    probability = 0.9 * ball(SHAPE, (6, 7, 5), 2.2) + 0.5 * ball(SHAPE, (16, 12, 13), 3)
    return made_result(Volume(np.zeros(SHAPE, np.int16), AFFINE), probability)


def test_write_findings_json_holds_the_table_with_units_and_frame(result, tmp_path):
    write_findings_json(tmp_path / "a.json", result, mask="scan_nodules.mha", labelled=False)
    record = json.loads((tmp_path / "a.json").read_text())
    assert (record["schema"], record["version"]) == ("semilung.findings", 1)
    assert (record["scan"], record["run"], record["threshold"]) == ("scan", "a_run", 0.25)
    assert record["coordinate_frame"] == FRAMES["lps"]
    assert record["mask"] == {"file": "scan_nodules.mha", "values": "1 in every finding"}
    assert set(record["units"]) < set(record["findings"][0])
    for finding, row in zip(record["findings"], result.findings.to_dict("records"), strict=True):
        assert finding["centre_mm"] == [row["coordX"], row["coordY"], row["coordZ"]]
        for name in ("label", "probability", "diameter_mm", "volume_mm3"):
            assert finding[name] == row[name]


def test_findings_record_label_is_that_of_the_finding_in_the_label_map(result):
    record = findings_record(result, mask="a.dcm", labelled=True)
    assert record["mask"]["values"] == "label"
    assert [finding["label"] for finding in record["findings"]] == [1, 2]
    for finding in record["findings"]:
        x, y, z = finding["centre_mm"]
        voxel = np.linalg.inv(AFFINE) @ [-x, -y, z, 1]
        assert result.labels.data[tuple(np.rint(voxel[:3]).astype(int))] == finding["label"]


def test_findings_record_further_columns_are_carried_and_missing_values_are_null(result, tmp_path):
    table = result.findings.assign(texture=[np.nan, 2.5], kind=pd.array([3, None], "Int64"))
    other = ScanResult("=cmd", result.volume, table)
    write_findings_json(tmp_path / "a.json", other, mask=None, labelled=False)
    record = json.loads((tmp_path / "a.json").read_text())
    assert (record["run"], record["threshold"], record["mask"]) == (None, None, None)
    assert [f["texture"] for f in record["findings"]] == [None, 2.5]
    assert [f["kind"] for f in record["findings"]] == [3, None]


def test_write_findings_json_without_findings_is_an_empty_list(result, tmp_path):
    empty = ScanResult("scan", result.volume, result.findings.head(0))
    write_findings_json(tmp_path / "a.json", empty, mask=None, labelled=False)
    assert json.loads((tmp_path / "a.json").read_text())["findings"] == []
