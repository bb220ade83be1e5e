"""DICOM objects that mark regions of a CT: which series they are of, and the masks they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semilung.data.importers.dicom.dicom_importer import (
    case_names,
    copied_image,
    pseudonyms,
    require_tree,
    warn_of,
)
from semilung.data.importers.dicom.tree import TreeSeries
from semilung.data.io.grid import Grid
from semilung.data.io.segments import Segment, label_map, listed_names, matches, require_match
from semilung.data.io.volume import write_volume
from semilung.data.manifest.cases import Case
from semilung.types import UserError

NODULES = ("*nodul*", "*lesion*", "*tumo*", "*mass*", "*gtv*", "*neoplas*", "*metasta*")
"""Names of regions that are nodules by default; in a set of contours most are organs."""


@dataclass(frozen=True, eq=False)
class Region:
    """A named region of an annotation.

    Attributes:
        name: As the reader gave it.
        kind: Coded type, where the format has one; names match it too.
        voxels: Returns the region on a CT's grid.
    """

    name: str
    kind: str
    voxels: Callable[[Grid], Segment]


@dataclass(frozen=True, eq=False)
class Annotation:
    """A file that marks regions of one CT series.

    Attributes:
        path: The file.
        series_uids: Series that it refers to; none where it only names a frame of reference.
        frame_uid: Frame of reference; empty where it is missing.
        regions: What it marks.
    """

    path: Path
    series_uids: frozenset[str]
    frame_uid: str
    regions: Sequence[Region]

    def chosen(self, patterns: Sequence[str]) -> list[Region]:
        """Return the regions whose name or type matches."""
        return [r for r in self.regions if matches(r.name, patterns) or matches(r.kind, patterns)]


def annotated_cases(
    source: Path,
    out: Path,
    *,
    modality: str,
    read: Callable[[Path], Annotation],
    patterns: Sequence[str],
    key: Path | None,
    copy: bool = False,
) -> list[Case]:
    """Return a labelled case for each CT series that an annotation below a folder is of.

    Several annotations of a series make one mask, in the order of their paths. Masks are written
    into `masks/`, on the grid of the CT.

    Args:
        source: Tree of DICOM.
        out: Folder of the masks.
        modality: Of the annotations, as in their header.
        read: Reads one.
        patterns: Names of the regions that are nodules.
        key: Of the pseudonyms.
        copy: Convert the images to NIfTI, in `images/`.

    Raises:
        UserError: There is no annotation whose CT can be used, or none of a nodule.

    Warns:
        UserWarning: An annotation is left out, because it cannot be read, its CT is not in the tree
            or cannot be used, or no region of it is named so.
    """
    tree = require_tree(source)
    paths = [
        file.path
        for one in tree
        for file in one.files.files
        if file.header.get("Modality") == modality
    ]
    if not paths:
        raise UserError(f"{source} holds no DICOM of the modality {modality}")
    of_series: dict[TreeSeries, list[Annotation]] = {}
    omissions: list[UserError] = []
    names: list[str] = []
    for path in sorted(paths):
        try:
            annotation = read(path)
            series = matched_series(annotation, tree)
        except UserError as error:
            omissions.append(error)
            continue
        names += [region.name for region in annotation.regions]
        if annotation.chosen(patterns):
            of_series.setdefault(series, []).append(annotation)
        else:
            omissions.append(_none_chosen(annotation))
    if not of_series:
        if names:
            require_match(source, names, patterns)
        raise omissions[0]
    warn_of(f"files of the modality {modality} are left out", [str(one) for one in omissions])
    pseudonym = pseudonyms(key, out)
    cases = []
    for series, objects in of_series.items():
        patient, case = case_names(series, pseudonym)
        mask = out / "masks" / f"{case}.nii.gz"
        _write_mask(mask, series, objects, patterns)
        image = copied_image(series, case, out) if copy else series.path
        cases.append(Case(case=case, patient=patient, image=image, role="labelled", mask=mask))
    return cases


def _none_chosen(annotation: Annotation) -> UserError:
    return UserError(
        f"{annotation.path}: none of its regions "
        f"({listed_names([region.name for region in annotation.regions])}) is named as a nodule; "
        f"name those that are, as in segments='[*nodule*]'"
    )


def _write_mask(
    mask: Path, series: TreeSeries, objects: Sequence[Annotation], patterns: Sequence[str]
) -> None:
    grid = series.grid
    segments = [
        replace(region.voxels(grid), name=region.name)
        for one in objects
        for region in one.chosen(patterns)
    ]
    write_volume(mask, label_map(objects[0].path, segments, grid.shape), grid.affine)


def matched_series(annotation: Annotation, tree: Sequence[TreeSeries]) -> TreeSeries:
    """Return the CT series of an annotation: the one it refers to, or that of its frame.

    A frame of reference names a CT where only one series has it.

    Raises:
        UserError: The CT is not in the tree, cannot be used, or may be one of several.
    """
    volumes = [one for one in tree if one.files.is_volume]
    referred = [one for one in volumes if one.series_uid in annotation.series_uids]
    framed = [
        one
        for one in volumes
        if annotation.frame_uid and one.header.get("FrameOfReferenceUID") == annotation.frame_uid
    ]
    usable = [one for one in referred or framed if one.opened is not None and not one.problem]
    if len(usable) == 1 or (usable and referred):
        return usable[0]
    if usable:
        raise UserError(
            f"{annotation.path}: it names no series, and its frame of reference is that of "
            f"{', '.join(str(one.path) for one in usable[:5])}; keep the one that it was made on"
        )
    if problems := [one.problem for one in referred or framed]:
        raise UserError(f"{annotation.path}: its CT cannot be used: {problems[0]}")
    raise UserError(f"{annotation.path}: the CT that it refers to is not in the tree; add it")
