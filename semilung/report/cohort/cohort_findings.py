"""What a look at the cohort says: one line a topic, and whether it needs a fix or a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from semilung.data.content.chest_sides import AXES
from semilung.data.manifest.check_manifest import ManifestCheck
from semilung.report.cohort.confounds import Confounds
from semilung.report.cohort.outliers import Outlier
from semilung.report.cohort.scan_survey import ScanSurvey
from semilung.report.formatting import between, counted, listed, number
from semilung.training.audits.probe import AUC


class Finding(NamedTuple):
    """One line: `ok`, `look`, `fix` or `unknown`, the sentence, and the section that shows it."""

    status: Literal["ok", "look", "fix", "unknown"]
    text: str
    section: str


SYMBOLS = {"ok": "● ok", "look": "▲ look", "fix": "✕ fix", "unknown": "○ unclear"}


def verdict(findings: Sequence[Finding]) -> str:
    """Return one sentence: whether the cohort can be used."""
    counts = Counter(finding.status for finding in findings)
    if counts["fix"]:
        return f"Not usable yet: {counted(counts['fix'], 'finding')} below must be fixed" + (
            f", and {counts['look']} should be looked at." if counts["look"] else "."
        )
    if counts["look"]:
        return f"Usable, after a look at {counted(counts['look'], 'finding')} below."
    return "Usable: no errors were found, and nothing unusual."


def list_findings(
    check: ManifestCheck,
    surveys: Sequence[ScanSurvey],
    outliers: Mapping[str, Sequence[Outlier]],
    confounds: Confounds,
) -> list[Finding]:
    """Return the findings, in the order of the page's sections."""
    return [
        _errors(check),
        *_outliers(surveys, outliers),
        _lungs(surveys, outliers),
        _sides(surveys, outliers),
        _nodules(surveys),
        _confounds(confounds),
    ]


def _errors(check: ManifestCheck) -> Finding:
    errors, warnings = len(check.errors), len(check.warnings)
    if errors:
        return Finding("fix", f"{counted(errors, 'error')} in the manifest and its files.", "check")
    if warnings:
        text = f"No errors in the manifest and its files, but {counted(warnings, 'warning')}."
        return Finding("look", text, "check")
    return Finding("ok", "No errors or warnings in the manifest and its files.", "check")


_OF_LUNGS = ("cut lungs", "lung volume", "no chest")


def _outliers(
    surveys: Sequence[ScanSurvey], outliers: Mapping[str, Sequence[Outlier]]
) -> Iterator[Finding]:
    """One finding for each kind of outlier that no other line covers, or one that there is none."""
    kinds = Counter(kind for listed_ in outliers.values() for kind in {o.kind for o in listed_})
    named = {
        "not HU": "not in Hounsfield units",
        "doubtful HU": "with doubtful Hounsfield units",
        "few slices": "with few slices",
        "large voxels": "with large voxels",
        "other voxels": "with voxels unlike the cohort's",
        "nodule outside": "with nodules outside the lungs",
    }
    if not any(kinds[kind] for kind in named):
        if any(survey.is_hu for survey in surveys):
            yield Finding("ok", "Intensities are HU, and voxel sizes are alike.", "voxels")
        return
    for kind, text in named.items():
        if kinds[kind]:
            status: Literal["fix", "look"] = "fix" if kind == "not HU" else "look"
            yield Finding(status, f"{counted(kinds[kind], 'scan')} {text}.", "outliers")


def _lungs(surveys: Sequence[ScanSurvey], outliers: Mapping[str, Sequence[Outlier]]) -> Finding:
    kinds = Counter(o.kind for listed_ in outliers.values() for o in listed_)
    chests = [survey for survey in surveys if survey.lungs is not None or survey.lacking]
    parts = sum(survey.is_hu for survey in surveys) - len(chests)
    narrow = f" {counted(parts, 'scan')} narrower than a chest: not assessed." if parts else ""
    texts = {"cut lungs": "cut lungs", "lung volume": "an unusual lung volume",
             "no chest": "no lungs"}  # fmt: skip
    unusual = [f"{kinds[kind]} with {texts[kind]}" for kind in _OF_LUNGS if kinds[kind]]
    if unusual:
        return Finding(
            "look", f"Of {counted(len(chests), 'chest')}, {listed(unusual)}.{narrow}", "lungs"
        )
    if not chests:
        return Finding("unknown", f"Lungs:{narrow or ' no scan could be read.'}", "lungs")
    return Finding(
        "ok", f"Both lungs are whole in {counted(len(chests), 'chest')}.{narrow}", "lungs"
    )


def _sides(surveys: Sequence[ScanSurvey], outliers: Mapping[str, Sequence[Outlier]]) -> Finding:
    assessed = [survey.lungs.sides for survey in surveys if survey.lungs is not None]
    counts = Counter((axis, sides[axis]) for sides in assessed for axis in AXES)
    reversed_ = sum(any(side == "reversed" for side in sides.values()) for sides in assessed)
    decided = listed(
        f"{axis} in {len(assessed) - counts[axis, 'undecided']} of {len(assessed)}" for axis in AXES
    )
    if not assessed:
        return Finding("unknown", "Orientation: no lungs to assess it by.", "lungs")
    if reversed_:
        scans = counted(reversed_, "scan")
        return Finding(
            "look", f"{scans} may be flipped; the anatomy decides {decided}.", "outliers"
        )
    return Finding("ok", f"No scan is flipped; the anatomy decides {decided}.", "lungs")


def _nodules(surveys: Sequence[ScanSurvey]) -> Finding:
    holding = [survey for survey in surveys if survey.nodules]
    count = sum(len(survey.nodules) for survey in holding)
    if not count:
        return Finding(
            "look", "No nodules are marked: nothing can be learned from labels.", "nodules"
        )
    text = f"{counted(count, 'nodule')} in {counted(len(holding), 'scan')}."
    return Finding("ok", text, "nodules")


def shown_auc(auc: AUC) -> str:
    """Return an AUC with its interval."""
    return f"{number(auc.value, 2)} ({between(auc.low, auc.high, 2)})"


def _confounds(confounds: Confounds) -> Finding:
    if confounds.probe is None:
        text = (
            f"Healthy scans and scans with nodules were not compared: there are "
            f"{counted(confounds.healthy, 'patient')} of the first and {confounds.nodules} of the "
            f"second with lung that is free of nodules, too few."
        )
        return Finding("unknown", text, "confounds")
    shown = shown_auc(confounds.probe)
    if confounds.decision in ("separable", "perhaps"):
        text = {
            "separable": f"The scanner gives healthy scans away: AUC {shown} from noise and HU.",
            "perhaps": f"The scanner may give healthy scans away: AUC {shown} of few patients.",
        }[confounds.decision]
        return Finding("look", text, "confounds")
    if confounds.exclusive:
        text = (
            f"Noise and HU do not separate the sides (AUC {shown}), but {confounds.exclusive[0]}."
        )
        return Finding("look", text, "confounds")
    if confounds.decision == "unclear":
        text = (
            f"Whether noise and HU give healthy scans away is open: AUC {shown}, too few patients."
        )
        return Finding("unknown", text, "confounds")
    text = f"Noise and HU do not give healthy scans away: AUC {shown}."
    return Finding("ok", text, "confounds")
