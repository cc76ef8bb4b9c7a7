"""Pseudonyms: keyed, stable, of one kind."""

import pytest

from cag.data.pseudonyms import pseudonym, study_key
from cag.settings import InputError


def test_pseudonyms_depend_on_the_key_and_the_kind(tmp_path, key):
    one = pseudonym("123", "patient", key)
    assert one == pseudonym(" 123 ", "patient", key) and one[0] == "P" and "123" not in one[:4]
    assert len({one, pseudonym("124", "patient", key), pseudonym("123", "patient", b"x" * 32)}) == 3
    assert one[1:] != pseudonym("123", "study", key)[1:]
    with pytest.raises(InputError, match="too few"):
        pseudonym("123", "patient", b"short")
    first = study_key(tmp_path / "key")
    assert first == study_key(tmp_path / "key") and len(first) == 32
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    (tmp_path / "key").write_text("no hex")
    with pytest.raises(InputError, match="holds no key"):
        study_key(tmp_path / "key")
