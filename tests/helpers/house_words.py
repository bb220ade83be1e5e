"""Words that the glossary of CONTRIBUTING.md replaces, and their search in Python source."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator

PROSE = re.compile(
    r"\b(told|tells?|telling|untold|judg\w*|beside|faults?|faulty|mend\w*|nowhere|nobody|to be had"
    r"|held against|figures?|whoever|somebody|aught|in vain|hearsay|alas|midst|lest|thus|hence"
    r"|wherein|whereof|thereof|befall\w*|forgoes?|bids?|bade|begets?|beheld)\b",
    re.IGNORECASE,
)
NAMES = {
    *("told", "found", "own", "seen", "kept", "theirs", "mine", "asked", "heard", "said", "known"),
    *("made", "taken", "given", "drawn", "missing_ones"),
}
NAME_PARTS = re.compile(r"(^|_)(told|judg\w*|faults?|mend\w*|beside|figures?)(_|$)", re.IGNORECASE)
TEXT = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}

# Real uses: `<figure>` of HTML, `figure {` of CSS, `.tell()` of a file, rcParams of matplotlib, the
# former option `--figure`, "figures", a key of audits.json and the stem of a report's file, and
# "judged_cases", a key of audits.json.
REAL_USES = re.compile(
    r"</?fig\w+|\bfigure\s*\{|\.tell\(\)|\bfigure\.\w+|--figure|^f?.figures(?=[-\"'])|judged_cases"
)
PLOT = re.compile(r"(^|_)figure$", re.IGNORECASE)  # a plot, where matplotlib is imported


def old_words(source: str) -> list[str]:
    """Return `line: word` of every replaced word in names, docstrings, comments and strings."""
    plots = "matplotlib" in source
    words = sorted({*_in_text(source), *_in_names(source)})
    return [f"{line}: {word}" for line, word in words if not (plots and PLOT.search(word))]


def _in_text(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in TEXT:
            text = REAL_USES.sub("", token.string)
            for match in PROSE.finditer(text):
                yield token.start[0] + text[: match.start()].count("\n"), match[0].lower()


def _in_names(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        for name in _defined(node):
            if name in NAMES or NAME_PARTS.search(name):
                yield getattr(node, "lineno", 1), name


def _defined(node: ast.AST) -> list[str]:
    """Return the names that a node defines; attributes of libraries are only read."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
        return [node.id if isinstance(node, ast.Name) else node.attr]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.alias):
        return [node.asname or ""]
    return []
