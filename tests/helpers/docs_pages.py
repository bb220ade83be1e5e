"""Pages of the documentation: their code blocks, inline code and links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "decisions"),
]
NOT_RUN = "<!-- not run"
"""Before a Python block that the tests only compile, with a reason."""

FENCE = re.compile(r"^(?P<indent> *)(?P<marks>```+|~~~+) *(?P<language>[\w-]*)")
SHELL = ("", "bash", "sh", "console", "shell")


class Block(NamedTuple):
    """A block of code: its page, first line number, language (empty: indented), text, mark."""

    page: Path
    line: int
    language: str
    code: str
    is_run: bool

    @property
    def place(self) -> str:
        """Page and line, as in an error message."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, text: str | None = None) -> list[Block]:
    """Return the fenced and indented blocks of a page, in order."""
    lines = (page.read_text() if text is None else text).splitlines()
    out, number = [], 0
    while number < len(lines):
        if fence := FENCE.match(lines[number]):
            end = number + 1
            while end < len(lines) and not lines[end].strip().startswith(fence["marks"]):
                end += 1
            code = [line.removeprefix(fence["indent"]) for line in lines[number + 1 : end]]
            is_run = not any(
                line.startswith(NOT_RUN) for line in lines[max(number - 1, 0) : number]
            )
            language = fence["language"] or "text"
            out.append(Block(page, number + 1, language, "\n".join(code) + "\n", is_run))
            number = end + 1
        elif re.match(r" {4,}\S", lines[number]) and (number == 0 or not lines[number - 1].strip()):
            end = number
            while end < len(lines) and re.match(r" {4,}\S|\s*$", lines[end]):
                end += 1
            code = [line.strip() for line in lines[number:end]]
            out.append(Block(page, number + 1, "", "\n".join(code) + "\n", is_run=True))
            number = end
        else:
            number += 1
    return out


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the command lines of a shell block as words, without comments and redirections."""
    if block.language not in SHELL:
        return
    for line in re.sub(r"\\\n *", " ", block.code).splitlines():
        line = line.strip().removeprefix("$ ")
        if re.match(r"[\w./]+( |$)|[A-Z_]+=", line):
            yield plain_words(line)


def plain_words(line: str) -> list[str]:
    """Return the words of a command line, without comment, redirection, environment and `...`.

    Example:
        >>> plain_words("OMP_NUM_THREADS=1 semilung train a=1 ...  # text")
        ['semilung', 'train', 'a=1']
    """
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # prose or a part of a script
        return []
    ends = [number for number, word in enumerate(words) if word in (">", "|", "&", "&&")]
    left_out = ("...", "$@")
    words = [word for word in words[: min(ends, default=len(words))] if word not in left_out]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def inline_code(page: Path) -> list[str]:
    """Return the inline code of a page, outside of its blocks."""
    text = re.sub(r"^ *(```|~~~).*?^ *\1", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(    .*\n)+", "", text, flags=re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def links(page: Path) -> list[str]:
    """Return the targets of relative links and pictures of a page, without anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [target.partition("#")[0] for target in targets if not re.match(r"\w+:|#", target)]
