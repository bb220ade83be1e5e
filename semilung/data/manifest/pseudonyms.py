"""Pseudonyms of patients and cases: stable names that say nothing without the user's key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import warnings
from contextlib import suppress
from pathlib import Path

from semilung.types import UserError

PATIENT = re.compile(r"p-[a-z2-7]{12}")
"""Pseudonym of a patient. Equal ones are of one patient, in whatever manifest."""

CASE = re.compile(r"p-[a-z2-7]{12}-[a-z2-7]{8}")
"""Pseudonym of a case: its patient's, and its own."""

_KEY = re.compile(r"[0-9a-f]{64}")


class Pseudonyms:
    """Names by a keyed hash (HMAC-SHA256), the same for the same key and the same identity.

    Who has the key can find out whether a name belongs to a patient id, so it stays with the user.

    Args:
        key: 32 bytes.

    Example:
        >>> names = Pseudonyms(bytes(32))
        >>> names.patient("4711") == names.patient("4711") != names.patient("4712")
        True
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def patient(self, identity: str) -> str:
        """Return the pseudonym of a patient, by patient id."""
        return f"p-{self._hash('patient', identity)[:12]}"

    def case(self, patient: str, identity: str) -> str:
        """Return the pseudonym of a scan of a patient (a pseudonym), by the UID of its series."""
        return f"{patient}-{self._hash('case', identity)[:8]}"

    def _hash(self, kind: str, identity: str) -> str:
        digest = hmac.digest(self._key, f"{kind}\0{identity}".encode(), hashlib.sha256)
        return base64.b32encode(digest).decode().lower()


def read_key(path: Path, out: Path) -> bytes:
    """Return the key of a file; where it is missing, make one that its owner alone can read.

    Args:
        path: The key's file.
        out: Folder of outputs that the user may publish; the key must be elsewhere.

    Raises:
        UserError: The key is in `out`, cannot be read or made, or is none.

    Warns:
        UserWarning: A new key was made.
    """
    if path.resolve().is_relative_to(out.resolve()):
        raise UserError(
            f"{path}: the key of the pseudonyms must not be in the folder of the outputs, {out}, "
            f"where it may be passed on; give a file elsewhere with --key"
        )
    with suppress(FileNotFoundError):
        return _stored_key(path)
    key = secrets.token_bytes(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UserError(
            f"{path}: the key of the pseudonyms cannot be written ({error.strerror}); give another "
            f"file with --key"
        ) from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{key.hex()}\n")
    warnings.warn(
        f"{path} is the new key of the pseudonyms: keep it, and keep it secret. The next import "
        f"gives the same names with --key {path}",
        stacklevel=2,
    )
    return key


def _stored_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(80).decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(
            f"{path}: the key of the pseudonyms cannot be read ({error.strerror}); check the file"
        ) from error
    if not _KEY.fullmatch(text):
        raise UserError(
            f"{path} is no key of pseudonyms, which is a line of 64 hexadecimal digits; give the "
            f"file of an earlier import, or the name of a new one"
        )
    return bytes.fromhex(text)
