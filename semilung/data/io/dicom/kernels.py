"""Kinds of reconstruction kernels and manufacturers, from what headers call them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

KernelKind: TypeAlias = Literal["soft", "lung", "bone", "unknown"]

_NAMES: dict[KernelKind, str] = {
    "soft": r"standard|soft\w*|detail|chst|chest|smooth|body|mediastin\w*|fl0[1-5]",
    "lung": r"lung\w*|ya|l|fc5\d|bl\d+\w*",
    "bone": r"bone\w*|edge|ultra|fc3\d|fc8\d|yd|e|d",
}
"""Names of General Electric, Philips (A and B are soft, L is lung), Canon (FC) and others."""

_PHILIPS_SOFT = r"a|b|ua|ub|sb|yb"
_CANON_SOFT = r"fc(0\d|1\d)"
_SIEMENS = re.compile(r"(?:b|i|br|bf|bv|qr|hr|h|u)(\d{2})[a-z]?")
_SIEMENS_SOFT, _SIEMENS_LUNG = 49, 79
"""Siemens numbers its kernels by sharpness; up to these numbers they are soft, and of the lung."""

MANUFACTURERS = {
    "ge ": "GE", "general electric": "GE", "siemens": "Siemens", "philips": "Philips",
    "marconi": "Philips", "picker": "Philips", "toshiba": "Toshiba", "canon": "Canon",
    "hitachi": "Hitachi", "fujifilm": "Fujifilm", "uih": "United Imaging",
    "united imaging": "United Imaging", "neusoft": "Neusoft", "neurologica": "NeuroLogica",
    "samsung": "Samsung", "imatron": "Imatron", "shimadzu": "Shimadzu", "elscint": "Elscint",
}  # fmt: skip
"""Start of the tag in lower case, and the name that is shown: only known names are."""


def kernel_kind(kernel: Any) -> KernelKind:
    """Return the kind of a kernel by its name; `unknown` where the name does not say it.

    Example:
        >>> [kernel_kind(name) for name in ("STANDARD", "LUNG", "BONEPLUS", "B30f", "B70f", "FC51")]
        ['soft', 'lung', 'bone', 'soft', 'lung', 'lung']
        >>> kernel_kind(["Br40d", "3"]), kernel_kind(None), kernel_kind("X9")
        ('soft', 'unknown', 'unknown')
    """
    name = next(iter(kernel_parts(kernel)), "").strip().lower()
    for kind, pattern in _NAMES.items():
        if re.fullmatch(pattern, name):
            return kind
    if re.fullmatch(f"{_PHILIPS_SOFT}|{_CANON_SOFT}", name):
        return "soft"
    if siemens := _SIEMENS.fullmatch(name):
        number = int(siemens[1])
        return "soft" if number <= _SIEMENS_SOFT else "lung" if number <= _SIEMENS_LUNG else "bone"
    return "unknown"


def kernel_parts(kernel: Any) -> list[str]:
    """Return the values of a kernel's tag, of which some scanners give several; damaged have none.

    Example:
        >>> kernel_parts(["Br40d", "3"]), kernel_parts("LUNG"), kernel_parts(7.5)
        (['Br40d', '3'], ['LUNG'], [])
    """
    if isinstance(kernel, str):
        return [kernel]
    return [str(part) for part in kernel] if isinstance(kernel, Iterable) else []


def manufacturer(value: Any) -> str:
    """Return the name of a known manufacturer; empty for any other text, which is not printed.

    Example:
        >>> manufacturer("GE MEDICAL SYSTEMS"), manufacturer("SIEMENS"), manufacturer("Dr. Doe")
        ('GE', 'Siemens', '')
    """
    text = f"{value or ''} ".lower()
    return next((name for start, name in MANUFACTURERS.items() if text.startswith(start)), "")
