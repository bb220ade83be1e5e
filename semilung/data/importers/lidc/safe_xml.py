"""XML without document types, so that no entity expands and no other file is read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from semilung.types import UserError

MAX_BYTES = 2**24
"""Largest file that is read; those of LIDC-IDRI have up to a few megabytes."""


class _WithoutDocumentType(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        """Refuse a document type; it comes before the entities that it may define."""
        raise ValueError("it has a document type (DOCTYPE), which is not read")


def read_xml(path: Path) -> ET.Element:
    """Return the root of an XML file.

    Raises:
        UserError: The file cannot be read, is too large, no XML, or has a document type.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(
                f"{path}: an XML file of more than {MAX_BYTES} bytes is not read; is it a reading "
                f"of a scan? Move it out of the folder"
            )
        parser = ET.XMLParser(target=_WithoutDocumentType())  # noqa: S314 - refuses entities
        parser.feed(path.read_bytes())
        return parser.close()
    except OSError as error:
        raise UserError(
            f"{path}: the XML file cannot be read ({error.strerror}); check the file and its disk"
        ) from error
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise UserError(
            f"{path}: this is no XML that can be read ({str(error)[:100]}); copy it again, or move "
            f"it out of the folder"
        ) from error
