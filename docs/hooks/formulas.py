"""Formulas of docstrings and pages as inline SVG, so that no page needs a script or a web font.

Markdown's extension arithmatex marks `$...$` and `$$...$$`; matplotlib's mathtext draws them.
"""

from __future__ import annotations

import html
import re
from functools import cache
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath

MARKED = re.compile(
    r'<(?P<tag>div|span) class="arithmatex">\\[\[(](?P<tex>.*?)\\[\])]</(?P=tag)>', re.DOTALL
)
DIALECT = (
    (r"\\[bB]igg?(?![a-zA-Z])", ""),  # sizes of brackets
    (r"\\tfrac", r"\\frac"),
    (r"\\frac(\d)(\d)", r"\\frac{\1}{\2}"),
    (r"\\sqrt (\w)", r"\\sqrt{\1}"),
    (r"(?<=\w) \\(exp|ln|log|max|min)(?![a-z])", r"\\,\\\1"),  # TeX's space before an operator
    (r"\\ge(?![a-z])", r"\\geq"),
    (r"\\le(?![a-z])", r"\\leq"),
    (r"\\ne(?![a-z])", r"\\neq"),
)
"""What LaTeX writes and mathtext does not read."""

EM = 250
"""Units of an SVG in one em."""

LETTERS = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}


def on_page_content(text: str, **_: Any) -> str:
    """Draw the formulas of a page."""
    return MARKED.sub(lambda match: formula(match["tex"], block=match["tag"] == "div"), text)


def formula(tex: str, *, block: bool) -> str:
    """Return a formula as HTML; a long one may break where LaTeX has a wide space."""
    tex = " ".join(html.unescape(tex).split())
    parts = [part.strip() for part in re.split(r"\\qquad|\\\\", tex) if part.strip()]
    tag, kind = ("div", "formula block") if block else ("span", "formula")
    label = html.escape(tex, quote=True)
    drawn = " ".join(draw(part.replace(r"\frac", r"\dfrac") if block else part) for part in parts)
    return f'<{tag} class="{kind}" role="math" aria-label="{label}">{drawn}</{tag}>'


@cache
def draw(tex: str) -> str:
    """Return a part of a formula as an SVG element in the colour of the text."""
    for latex, drawable in DIALECT:
        tex = re.sub(latex, drawable, tex)
    font = FontProperties(math_fontfamily="cm")
    outline = TextPath((0, 0), f"${tex}$", size=EM, prop=font)
    box = outline.get_extents()
    path = "".join(
        LETTERS[code] + " ".join(f"{x:.0f} {-y:.0f}" for x, y in points.reshape(-1, 2))
        if code in LETTERS
        else "Z"
        for points, code in outline.iter_segments(simplify=False)
    )
    width, height, rise = box.width / EM, box.height / EM, box.y0 / EM
    style = f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{rise:.3f}em"
    view = f"{box.x0:.0f} {-box.y1:.0f} {box.width:.0f} {box.height:.0f}"
    return f'<svg viewBox="{view}" style="{style}" aria-hidden="true"><path d="{path}"/></svg>'
