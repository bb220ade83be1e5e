"""Tables of pages that are made of the code: `<!-- table: KIND NAME -->` in a page's Markdown.

- `strategies`, `losses`, `models`, `tasks`, `formats`: as `semilung list KIND --markdown` prints.
- `options PATH`: options of a YAML in `configs/`, with default and comment.
- `decisions`: the decision pages by their titles.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"<!-- table: (\w+) ?([\w/]*) -->")
CELL, CODE = re.compile(r"<td.*?</td>", re.DOTALL), re.compile(r"(?<=<code>)[^<]*")
OPTION = re.compile(r"^ *(?P<name>\w+): *(?P<value>.*?) *(?:# *(?P<text>.*))?$")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of a page by tables."""
    return MARK.sub(lambda match: table(match[1], match[2]), markdown)


def on_page_content(text: str, **_: Any) -> str:
    """Let names in tables break after their separators, and nowhere else, on narrow screens."""
    return CELL.sub(lambda cell: CODE.sub(lambda code: breakable(code[0]), cell[0]), text)


def breakable(code: str) -> str:
    """Return code with an optional line break after each separator."""
    return re.sub(r"(?<=[_.=,/(])(?=\w)|(?<=\w)(?=@)", "<wbr>", code)


def table(kind: str, name: str = "") -> str:
    """Return a table as Markdown."""
    if kind == "options":
        return options(ROOT / "configs" / f"{name}.yaml")
    if kind == "decisions":
        return decisions()
    from semilung.catalogue import markdown

    return linked(markdown(kind), kind)


def options(path: Path) -> str:
    """Return the options of a YAML: each line `name: default  # text`."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    rows = [match for line in lines if (match := OPTION.match(line)) and match["text"]]
    body = [
        f"| `{row['name']}` | `{row['value']}` | {row['text'].replace('|', chr(92) + '|')} |"
        for row in rows
    ]
    return "\n".join(["| option | default | what it is |", "|---|---|---|", *body])


def decisions() -> str:
    """Return a list of the decision pages with their titles."""
    pages = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    titles = [page.read_text().splitlines()[0].lstrip("# ") for page in pages]
    rows = zip(titles, pages, strict=True)
    return "\n".join(f"- [{title}](decisions/{page.name})" for title, page in rows)


def linked(markdown: str, kind: str) -> str:
    """Return a table whose names link to their pages, of strategies."""
    if kind != "strategies":
        return markdown
    return re.sub(r"^\| `(\w+)`", r"| [`\1`](\1.md)", markdown, flags=re.MULTILINE)
