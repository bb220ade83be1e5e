"""CSV tables of any common dialect: comma, semicolon or tab; UTF-8, UTF-16 or Latin-1."""

from __future__ import annotations

import codecs
import csv
import json
import warnings
from collections import Counter
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pandas as pd

from semilung.csv_tables import read_cell
from semilung.types import UserError

SEPARATORS = ",;\t"

MAX_BYTES = 2**28
"""Largest table that is read: a million rows of long paths."""


@dataclass(frozen=True)
class TableKind:
    """What a table is for, in the words of messages about a file that is none.

    Attributes:
        name: With its article, such as `a manifest`.
        columns: Those that it needs.
        row: What a row stands for, with its article.
    """

    name: str
    columns: tuple[str, ...]
    row: str

    @property
    def needed(self) -> str:
        """Content of such a table."""
        first, last = ", ".join(self.columns[:-1]), self.columns[-1]
        columns = f"columns {first} and {last}" if first else f"column {last}"
        return f"{self.name} is a CSV table with the {columns}, one row {self.row}"


BINARY = {
    b"PK\x03\x04": "an Excel workbook (.xlsx) or another zip archive; save its sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls); save its sheet as CSV",
    b"\x1f\x8b": "a gzip file; decompress it if it holds the table; a scan is named in a table",
    b"\x5c\x01\x00\x00": "a NIfTI volume; name it in a table",
    b"PAR1": "a Parquet file; save it as CSV",
    b"%PDF": "a PDF; save its table as CSV",
}
"""First bytes of other kinds of file, and their description for the message."""

DATASET_KEYS = {"training", "numTraining", "labels", "channel_names", "modality", "tensorImageSize"}
"""Keys of the dataset.json of the Medical Segmentation Decathlon and of nnU-Net."""


def read_table(path: Path, kind: TableKind) -> pd.DataFrame:
    """Read a table's cells as text, stripped of surrounding blanks.

    The separator is the most frequent of comma, semicolon and tab in the header, or that of Excel's
    line `sep=`. The encoding is that of a byte order mark, else UTF-8 if valid, else Windows-1252
    (Latin-1).

    Args:
        path: The file.
        kind: For messages about a file that is no such table.

    Raises:
        UserError: The file is missing, a folder, of another kind, or no table.
    """
    text = _decoded(_bytes(path, kind))
    _require_no_markup(path, text, kind)
    header, separator, text = _header(text)
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            # index_col: with a value too many in every row, pandas would take the first as index
            table: pd.DataFrame = pd.read_csv(
                StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
    except (ValueError, MemoryError, csv.Error, pd.errors.ParserWarning) as error:
        raise UserError(f"{path}: not a CSV table ({str(error).strip()}); {kind.needed}") from error
    if repeated := [name for name, count in Counter(header).items() if name and count > 1]:
        raise UserError(f"{path}: column {repeated[0]!r} is there twice; keep one of them")
    return pd.DataFrame(
        {
            read_cell(str(name).strip()): [read_cell(v.strip()) for v in table[name].tolist()]
            for name in table
        }
    )


def _bytes(path: Path, kind: TableKind) -> bytes:
    if path.is_dir():
        inner = path / "manifest.csv"
        hint = f"did you mean {inner}?" if inner.is_file() else f"name a file in it; {kind.needed}"
        raise UserError(f"{path} is a folder, not {kind.name}: {hint}")
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such file was found; {kind.needed}")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: not a CSV table of at most {MAX_BYTES} bytes; {kind.needed}")
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: the file cannot be read ({error.strerror}); check the path and its disk"
        ) from error
    for signature, content in BINARY.items():
        if raw.startswith(signature):
            raise UserError(f"{path}: not a CSV table, but {content}; {kind.needed}")
    if raw[128:132] == b"DICM":
        raise UserError(f"{path}: not a CSV table, but a DICOM file; {kind.needed}")
    return raw


def _decoded(raw: bytes) -> str:
    marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    unmarked = {(False, True): "utf-16-le", (True, False): "utf-16-be"}
    zeros = (raw[:1] == b"\0", raw[1:2] == b"\0")
    wide = "utf-16" if marked else unmarked.get(zeros)
    for encoding in (wide, "utf-8-sig", "cp1252") if wide else ("utf-8-sig", "cp1252"):
        try:
            return raw.decode(str(encoding))
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def _require_no_markup(path: Path, text: str, kind: TableKind) -> None:
    """Raise UserError for JSON and HTML; a dataset.json is recognised."""
    start = text.lstrip()[:1]
    if start == "<":
        raise UserError(f"{path}: not a CSV table, but HTML or XML; {kind.needed}")
    if start not in ("{", "["):
        return
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    markup = "JSON"
    if isinstance(content, dict) and DATASET_KEYS & content.keys():
        markup = "JSON, which looks like the dataset.json of an MSD or nnU-Net data set"
    raise UserError(f"{path}: not a CSV table, but {markup}; {kind.needed}")


def _header(text: str) -> tuple[list[str], str, str]:
    """Return the column names, the separator, and the text from the header on.

    pandas would rename a repeated column.
    """
    lines = text.lstrip("\r\n")
    first = lines.splitlines()[0] if lines else ""
    if first.lower().startswith("sep=") and len(first) == len("sep=;"):
        separator, lines = first[-1], lines[len(first) :].lstrip("\r\n")
    else:
        separator = max(SEPARATORS, key=first.count)
    try:
        names = next(csv.reader(StringIO(lines, newline=""), delimiter=separator), [])
    except csv.Error:  # pandas will report it for the rows
        names = []
    return [name.strip() for name in names], separator, lines
