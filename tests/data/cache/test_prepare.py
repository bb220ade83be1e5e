from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cohort import LPS, SHAPE

from semilung.data.cache.prepare import prepare
from semilung.data.cache.store import filling, open_entry
from semilung.data.data_config import DataConfig
from semilung.data.io.volume import read_volume, to_ras, write_volume
from semilung.data.manifest.cases import Case, read_manifest
from semilung.data.manifest.splits import apply_label_budget
from semilung.types import UserError


@pytest.fixture(scope="module")
def prepared(cohort_folder, data_config):
    return prepare(read_manifest(cohort_folder / "manifest.csv"), data_config, progress=False)


@pytest.fixture
def one(tmp_path):
    """A labelled case of its own in `tmp_path`, and a config with its own cache."""
    rng = np.random.default_rng(1)
    write_volume(tmp_path / "i.nii.gz", rng.integers(-900, 100, SHAPE).astype(np.int16), LPS)
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:9, 5:9, 5:9] = 3
    write_volume(tmp_path / "m.nii.gz", mask, LPS)
    case = Case("a", "p", tmp_path / "i.nii.gz", "labelled", tmp_path / "m.nii.gz", split="train")
    return case, DataConfig(cache=str(tmp_path / "cache"))


def entries(config):
    return {p.name: p.stat().st_mtime_ns for p in config.cache_folder().rglob("*") if p.is_file()}


def test_prepare_image_is_in_ras_and_clipped(one):
    case, config = one
    (item,) = prepare([case], replace(config, clip_hu=(-500.0, 50.0), window_hu=(-400.0, 0.0)))
    ras = to_ras(read_volume(case.image))
    np.testing.assert_array_equal(item.read("image"), np.clip(ras.data, -500, 50))
    np.testing.assert_allclose(item.affine, ras.affine)
    np.testing.assert_array_equal(item.read("mask"), to_ras(read_volume(case.mask)).data)
    assert item.read("image").dtype == np.int16
    assert item.source.shape == SHAPE
    np.testing.assert_allclose(item.source.affine, LPS)


def test_foreground_is_on_every_nodule_and_not_on_ignored_voxels(prepared):
    mask = prepared[0].read("mask")
    labels = mask[tuple(prepared[0].foreground.T.astype(int))]
    assert np.unique(labels, return_counts=True)[1].tolist() == [27, 27]
    assert set(labels.tolist()) == {1, 2}
    assert 255 in mask
    assert prepared[5].foreground.shape == (0, 3)


def test_diameters_mm_are_those_of_the_foreground_nodules(prepared):
    # Of a ball of 27 voxels' volume: (6 / pi * V)^(1/3).
    volume_mm3 = 27 * np.prod(prepared[0].spacing_mm)
    expected = (6 / np.pi * volume_mm3) ** (1 / 3)
    np.testing.assert_allclose(prepared[0].diameters_mm, [expected] * 54, rtol=1e-5)
    assert prepared[5].diameters_mm.shape == (0,)


def test_prepare_opens_masks_of_labelled_cases_only(prepared):
    # The unlabelled rows name a poisoned mask: had it been opened, preparing would have failed.
    with_mask = {item.case.role for item in prepared if "mask" in item.files}
    assert with_mask == {"labelled"}


def test_prepare_opens_the_mask_of_a_labelled_case(cohort_folder, data_config):
    case = read_manifest(cohort_folder / "manifest.csv")[0]
    with pytest.raises(UserError, match=r"c0.*poison"):
        prepare([replace(case, mask=cohort_folder / "poison.nii.gz")], data_config, progress=False)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_crop_is_a_slice_of_the_reflected_volume(prepared, data):
    item = prepared[0]
    start = tuple(data.draw(st.integers(-40, 40)) for _ in range(3))
    size = tuple(data.draw(st.integers(1, 40)) for _ in range(3))
    for field in ("image", "mask"):
        whole = np.pad(item.read(field), 90, mode="symmetric")
        cut = tuple(slice(s + 90, s + 90 + n) for s, n in zip(start, size, strict=True))
        np.testing.assert_array_equal(item.crop(field, start, size), whole[cut])


def test_crops_span_chunks(tmp_path):
    data = np.random.default_rng(0).integers(-900, 100, (70, 40, 65)).astype(np.int16)
    write_volume(tmp_path / "i.nii.gz", data, np.eye(4))
    case = Case("a", "p", tmp_path / "i.nii.gz", "unlabelled")
    (item,) = prepare([case], DataConfig(cache=str(tmp_path / "c")), progress=False)
    crop = item.crop("image", (20, 1, 30), (45, 38, 34))
    np.testing.assert_array_equal(crop, data[20:65, 1:39, 30:64])


def test_prepared_case_pickles_small_after_use(prepared):
    prepared[0].crop("image", (0, 0, 0), (4, 4, 4))
    packed = pickle.dumps(prepared[0])
    assert len(packed) < 2000
    np.testing.assert_array_equal(pickle.loads(packed).read("image"), prepared[0].read("image"))


def test_prepare_keeps_entries_of_equal_parameters(one):
    case, config = one
    prepare([case], config, progress=False)
    before = entries(config)
    prepare([case], config, progress=False)
    assert entries(config) == before
    prepare([case], replace(config, spacing_mm=(2.0, 2.0, 2.0)), progress=False)
    assert len(entries(config)) == 4
    assert before.items() <= entries(config).items()


def test_prepare_redoes_entries_of_another_version(one, monkeypatch):
    case, config = one
    (item,) = prepare([case], config, progress=False)
    old = entries(config)
    module = import_module("semilung.data.cache.prepare")
    monkeypatch.setattr(module, "VERSION", module.VERSION - 1)
    (again,) = prepare([case], config, progress=False)
    assert set(again.files.values()).isdisjoint(item.files.values())
    assert len(entries(config)) == 2 * len(old)
    assert old.items() <= entries(config).items()


def test_prepare_other_budget_redoes_no_image(one):
    case, config = one
    (item,) = prepare([replace(case, role="unlabelled", mask=None)], config, progress=False)
    before = entries(config)
    (labelled,) = prepare([case], config, progress=False)
    assert labelled.files["image"] == item.files["image"]
    assert before.items() <= entries(config).items()
    demoted = apply_label_budget([case, replace(case, case="b")], labelled=1, rest="drop", seed=0)
    assert len(demoted) == 1


def test_prepare_redoes_a_changed_file(one):
    case, config = one
    prepare([case], config, progress=False)
    hu = to_ras(read_volume(case.image)).data
    write_volume(case.image, read_volume(case.image).data + 7, LPS)
    (item,) = prepare([case], config, progress=False)
    np.testing.assert_array_equal(item.read("image"), np.clip(hu + 7, *config.clip_hu))


def test_prepare_verify_detects_a_change_with_equal_size_and_time(one):
    case, config = one
    raw = case.image.with_name("i.nii")
    hu = read_volume(case.image).data
    write_volume(raw, hu, LPS)
    case, state = replace(case, image=raw), raw.stat()
    prepare([case], config, progress=False)
    write_volume(raw, hu - 6, LPS)
    os.utime(raw, ns=(state.st_atime_ns, state.st_mtime_ns))
    (item,) = prepare([case], config, progress=False)
    before = item.read("image")
    (item,) = prepare([case], config, progress=False, verify=True)
    np.testing.assert_array_equal(item.read("image"), np.maximum(before - 6, config.clip_hu[0]))


def test_prepare_verify_repairs_a_damaged_chunk(one):
    case, config = one
    (item,) = prepare([case], config, progress=False)
    good, path = item.read("image"), item.files["image"]
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 0xFF
    path.write_bytes(raw)
    open_entry.cache_clear()
    with pytest.raises(UserError, match=r"chunk 0 of the cache is damaged"):
        item.crop("image", (0, 0, 0), (4, 4, 4))
    (item,) = prepare([case], config, progress=False, verify=True)
    np.testing.assert_array_equal(item.read("image"), good)


def test_read_truncated_entry_is_refused(one):
    case, config = one
    (item,) = prepare([case], config, progress=False)
    path = item.files["image"]
    path.write_bytes(path.read_bytes()[:500])
    open_entry.cache_clear()
    with pytest.raises(UserError, match="cannot be opened"):
        item.read("image")


def test_prepare_lists_all_failures_and_finishes_the_rest(one, tmp_path):
    case, config = one
    write_volume(tmp_path / "nan.nii.gz", np.full(SHAPE, np.nan, np.float32), LPS)
    far = LPS.copy()
    far[0, 3] = 9
    write_volume(tmp_path / "far.nii.gz", np.zeros(SHAPE, np.uint8), far)
    cases = [
        case,
        replace(case, case="nan", image=tmp_path / "nan.nii.gz"),
        replace(case, case="gone", image=tmp_path / "gone.nii.gz"),
        replace(case, case="far", mask=tmp_path / "far.nii.gz"),
    ]
    with pytest.raises(UserError) as error:
        prepare(cases, config, progress=False, processes=2)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("3 of 4 cases")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["far", "gone", "nan"]
    assert "NaN" in lines[3]
    assert len(entries(config)) == 2


def test_prepare_result_does_not_depend_on_processes(one, tmp_path):
    case, config = one
    cases = [case, replace(case, case="b", image=tmp_path / "i2.nii.gz")]
    write_volume(cases[1].image, read_volume(case.image).data + np.int16(1), LPS)
    alone = prepare(cases, config, progress=False, processes=0)
    pooled = prepare(cases, replace(config, cache=str(tmp_path / "two")), processes=2)
    for a, b in zip(alone, pooled, strict=True):
        assert a.files["image"].read_bytes() == b.files["image"].read_bytes()


def test_prepare_killed_run_leaves_no_partial_entry(tmp_path):
    data = np.random.default_rng(0).integers(-900, 100, (160, 160, 160)).astype(np.int16)
    write_volume(tmp_path / "i.nii", data, np.eye(4))
    script = (
        "import sys; from pathlib import Path\n"
        "from semilung.data import Case, DataConfig, prepare\n"
        f"root = Path({str(tmp_path)!r})\n"
        "case = Case('a', 'p', root / 'i.nii', 'unlabelled')\n"
        "prepare([case], DataConfig(cache=str(root / 'cache')), progress=False)\n"
    )
    cache = tmp_path / "cache"
    child = subprocess.Popen([sys.executable, "-c", script])
    while child.poll() is None and not any(p.stat().st_size > 0 for p in cache.rglob(".*.b2nd")):
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    finished = [p for p in cache.rglob("*.b2nd") if not p.name.startswith(".")]
    assert finished == []
    case = Case("a", "p", tmp_path / "i.nii", "unlabelled")
    (item,) = prepare([case], DataConfig(cache=str(cache)), progress=False)
    np.testing.assert_array_equal(item.read("image"), data)


def session(leader):
    """Processes of a session that are alive."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, of = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:4]
            if int(of) == leader and state != "Z":
                found.append(int(folder.name))
    return found


def soon(holds):
    """Wait until it holds."""
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until, "it does not come to hold"
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_prepare_killed_with_its_workers_is_completed_by_the_next_run(tmp_path):
    cases = []
    for i in range(6):
        data = np.random.default_rng(i).integers(-900, 100, (128, 128, 128)).astype(np.int16)
        write_volume(tmp_path / f"{i}.nii", data, np.eye(4))
        cases.append(Case(str(i), str(i), tmp_path / f"{i}.nii", "unlabelled"))
    config = DataConfig(cache=str(tmp_path / "cache"))
    script = (
        "from pathlib import Path, PosixPath\n"
        "from semilung.data import Case, DataConfig, prepare\n"
        f"prepare({cases!r}, {config!r}, progress=False, processes=2)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    soon(lambda: any(not name.startswith(".") for name in entries(config)))
    soon(lambda: any(name.startswith(".") for name in entries(config)))
    child.send_signal(signal.SIGKILL)
    child.wait()
    soon(lambda: not session(child.pid))  # no worker stays behind
    before = {name: t for name, t in entries(config).items() if not name.startswith(".")}
    assert 1 <= len(before) < 6
    items = prepare(cases, config, progress=False, processes=2)
    after = entries(config)
    assert len(after) == 6
    assert not any(name.startswith(".") for name in after)
    assert before.items() <= after.items()  # what was done is not done again
    for item in items:
        np.testing.assert_array_equal(item.read("image"), read_volume(item.case.image).data)


def test_prepare_keeps_temporaries_of_a_concurrent_run(one):
    case, config = one
    (item,) = prepare([case], config, progress=False)
    half = item.files["image"].with_name(".x.image.b2nd.1.b2nd")
    half.write_bytes(b"half")
    with filling(config.cache_folder()):
        assert not half.exists()
        half.write_bytes(b"half")
        with filling(config.cache_folder()):
            assert half.exists()


def test_prepare_complete_cache_opens_nothing(one, monkeypatch):
    case, config = one
    prepare([case], config, progress=False)
    monkeypatch.setattr("nibabel.load", None)
    monkeypatch.setattr("semilung.data.io.volume.READERS", {})
    monkeypatch.setattr("blosc2.open", None)
    prepare([case], config, progress=False)


def test_prepare_nodule_lost_by_resampling_is_refused_with_a_remedy(tmp_path):
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[9, 9, 9], mask[10, 10, 10] = 1, 2
    hu = np.where(mask > 0, 0, -800).astype(np.int16)
    write_volume(tmp_path / "i.nii.gz", hu, np.eye(4))
    write_volume(tmp_path / "m.nii.gz", mask, np.eye(4))
    case = Case("a", "p", tmp_path / "i.nii.gz", "labelled", tmp_path / "m.nii.gz")
    config = DataConfig(cache=str(tmp_path / "c"), spacing_mm=(20.0, 20.0, 20.0))
    with pytest.raises(UserError, match=r"nodules \[\d\] vanish at .*choose a finer spacing_mm"):
        prepare([case], config, progress=False)


def test_prepare_scan_not_in_hu_is_refused(tmp_path):
    unit = np.linspace(0, 1, 20**3, dtype=np.float32).reshape(20, 20, 20)
    write_volume(tmp_path / "i.nii.gz", unit, np.eye(4))
    case = Case("a", "p", tmp_path / "i.nii.gz", "unlabelled")
    with pytest.raises(UserError, match="normalised, not HU"):
        prepare([case], DataConfig(cache=str(tmp_path / "c")), progress=False)


def test_prepare_anatomy_keeps_its_classes(one, tmp_path):
    case, config = one
    classes = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)
    write_volume(tmp_path / "a.nii.gz", classes, LPS)
    (item,) = prepare([replace(case, anatomy=tmp_path / "a.nii.gz")], config, progress=False)
    np.testing.assert_array_equal(item.read("anatomy"), classes[::-1, ::-1])


def test_cache_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SEMILUNG_CACHE", str(tmp_path))
    assert DataConfig().cache_folder() == tmp_path
    assert DataConfig(cache="x").cache_folder().name == "x"
