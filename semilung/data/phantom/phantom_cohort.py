"""Writing of a phantom cohort: volumes and manifest."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from semilung.data.io.volume import write_volume
from semilung.data.manifest.cases import Case
from semilung.data.manifest.write_manifest import write_manifest
from semilung.data.phantom.cohort_plan import Parameters, Part, compose
from semilung.data.phantom.nodule_targets import nodule_rows
from semilung.data.phantom.scan import Scan, draw_scan
from semilung.files import write_text
from semilung.types import UserError

ORIENTATIONS = ("LPS", "RAS", "LAS")
"""Voxel orders, used by the scans in turn."""


def write_phantom(
    out: Path, *, scans: int = 24, size: int = 64, spacing_mm: float = 2.5, seed: int = 0
) -> Path:
    """Write a cohort of procedural chest CTs and its manifest.

    Images are int16 in HU; masks (of labelled scans) and anatomy are uint8; voxel orders vary. The
    manifest's `nodules`, `diameter_mm` and `texture` (the last two of the largest nodule) are known
    for labelled and healthy scans only, `kernel` and `noise_hu` for all. `nodules.csv` has every
    nodule of labelled scans (see `nodule_rows`).

    Args:
        out: A new or empty folder, or one that holds the same phantom, which is then kept.
        scans: Number of scans, one a patient, 8 or more.
        size: Voxels along each axis, 32 or more.
        spacing_mm: Edge length of a voxel; `size * spacing_mm` is 90 to 500 mm.
        seed: Scan i is a pure function of the seed, i and the other arguments.

    Returns:
        Path of the manifest.

    Raises:
        UserError: An argument is out of range, or the folder holds something else.
    """
    parameters = Parameters(scans, size, float(spacing_mm), seed)
    parameters.check()
    manifest = out / "manifest.csv"
    if _claim(out, parameters) and manifest.exists():
        return manifest
    cases = []
    for index, part in enumerate(compose(scans)):
        scan = draw_scan(
            index,
            diseased=part.diseased,
            cohort=part.cohort,
            size=size,
            spacing_mm=spacing_mm,
            seed=seed,
        )
        cases.append(_write_scan(out, index, part, scan, _affine(parameters, index), seed))
    # The manifest is written last and atomically: if it exists, the phantom is complete.
    return write_manifest(manifest, cases)


def _claim(out: Path, parameters: Parameters) -> bool:
    """Return whether `out` holds this phantom, complete or not; mark an empty folder as its own."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder for the phantom")
    note = out / "phantom.json"
    expected = asdict(parameters)
    if note.is_file():
        actual = _read_note(note)
        if actual == expected:
            return True
        raise UserError(
            f"{out} holds another phantom: {_differences(actual, expected)}; name another folder"
        )
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no phantom; name a new or empty folder")
    write_text(note, json.dumps(expected) + "\n")
    return False


def _differences(actual: Any, expected: dict[str, Any]) -> str:
    """Return how the parameters of a phantom differ, by the options of the command."""
    values = actual if isinstance(actual, dict) else {}
    options = {name: f"--{name.replace('_', '-')}" for name in expected if name != "drawing"}
    clauses = [
        f"{option} is {values.get(name, 'unknown')} there and {expected[name]} here"
        for name, option in options.items()
        if values.get(name) != expected[name]
    ]
    return ", ".join(clauses) or "another version of semilung has drawn it"


def _read_note(note: Path) -> Any:
    try:
        return json.loads(note.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{note} cannot be read ({error}); name another folder") from error


def _affine(parameters: Parameters, index: int) -> np.ndarray:
    """Return an RAS+ affine with a random origin, as scanners have."""
    rng = np.random.default_rng([parameters.seed, index, 1])
    centre = rng.uniform((-15, -15, -300), (15, 15, -100))
    affine = np.diag([*[parameters.spacing_mm] * 3, 1.0])
    affine[:3, 3] = np.round(centre - parameters.spacing_mm * (parameters.size - 1) / 2, 3)
    return affine


def _write_scan(
    out: Path, index: int, part: Part, scan: Scan, affine: np.ndarray, seed: int
) -> Case:
    """Write the scan's files in its voxel order, and return its case."""
    name = f"phantom_{index:03d}"
    target = nib.orientations.axcodes2ornt(ORIENTATIONS[index % len(ORIENTATIONS)])
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), target)
    turned = affine @ nib.orientations.inv_ornt_aff(turn, scan.image.shape)

    rng = np.random.default_rng([seed, index, 2])

    def write(folder: str, data: np.ndarray) -> Path:
        path = out / folder / f"{name}.nii.gz"
        write_volume(path, nib.orientations.apply_orientation(data, turn), turned)
        return path

    has_truth = part.role in ("labelled", "healthy")
    largest = scan.nodules[0].finding if has_truth and scan.nodules else None
    targets = {
        "kernel": scan.kernel,
        "noise_hu": f"{scan.noise_hu:.1f}",
        "nodules": str(len(scan.nodules)) if has_truth else "",
        "diameter_mm": f"{largest.diameter_mm:.1f}" if largest else "",
        "texture": largest.texture if largest else "",
    }
    labelled = part.role == "labelled"
    return Case(
        case=name,
        patient=f"patient_{index:03d}",
        image=write("images", scan.image),
        role=part.role,
        mask=write("masks", scan.mask) if labelled else None,
        anatomy=write("anatomy", scan.anatomy),
        bag_label=None if part.role == "unlabelled" else int(part.diseased),
        split=part.split,
        cohort=part.cohort,
        nodules=nodule_rows(scan, affine, rng) if labelled else (),
        targets=targets,
    )
