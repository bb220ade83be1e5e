"""Pseudonyms by a key that stays with the user."""

import hashlib
import hmac

import pytest

from semilung.data.manifest.pseudonyms import CASE, PATIENT, Pseudonyms, read_key
from semilung.types import UserError


def test_pseudonyms_are_a_keyed_hash_in_base_32():
    names = Pseudonyms(bytes(32))
    digest = hmac.new(bytes(32), b"patient\x004711", hashlib.sha256).digest()
    first_byte = "abcdefghijklmnopqrstuvwxyz234567"[digest[0] >> 3]
    assert names.patient("4711")[2] == first_byte
    assert PATIENT.fullmatch(names.patient("4711"))
    assert CASE.fullmatch(names.case(names.patient("4711"), "1.2.3"))
    assert Pseudonyms(bytes(31) + b"1").patient("4711") != names.patient("4711")


def test_key_is_made_once_for_its_owner_and_read_again(tmp_path):
    with pytest.warns(UserWarning, match="keep it secret"):
        key = read_key(tmp_path / "new/key", tmp_path / "out")
    assert len(key) == 32
    assert (tmp_path / "new/key").stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "new/key", tmp_path / "out") == key


@pytest.mark.parametrize("content", [b"", b"secret", b"g" * 64, b"\xff" * 64, b"a" * 65])
def test_key_of_other_content_is_refused_and_untouched(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is no key of pseudonyms"):
        read_key(path, tmp_path / "out")
    assert path.read_bytes() == content


def test_key_within_the_outputs_or_in_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "out/key", tmp_path / "out/../out/a/key"):
        with pytest.raises(UserError, match="must not be in the folder of the outputs"):
            read_key(path, tmp_path / "out")
    with pytest.raises(UserError, match="cannot be read"):
        read_key(tmp_path, tmp_path / "out")
