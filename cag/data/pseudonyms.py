"""Pseudonyms: identifiers replaced by keyed hashes, stable within a study and meaningless without its key."""

import contextlib
import hashlib
import hmac
import os
import secrets
import unicodedata
from pathlib import Path
from typing import Literal

from cag.settings import InputError

Kind = Literal["patient", "study", "run"]

_PREFIX: dict[Kind, str] = {"patient": "P", "study": "S", "run": "R"}  #: First letter of each kind of pseudonym.
_DIGITS = 12  #: Hexadecimal digits of a pseudonym: 48 bits, a chance of 2e-7 that two of 10,000 patients collide.
_KEY_BYTES, _MINIMUM_KEY_BYTES = 32, 16
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def pseudonym(identifier: str, kind: Kind, key: bytes) -> str:
    """Replace an identifier by its keyed hash (HMAC-SHA256); outer blanks and how an accent is written do not count."""
    if len(key) < _MINIMUM_KEY_BYTES:
        problem = f"{len(key)} bytes are too few to keep pseudonyms secret"
        raise InputError(problem, field="key", remedy=f"Give at least {_MINIMUM_KEY_BYTES} random bytes")
    message = f"{kind}\0{unicodedata.normalize('NFC', identifier.strip())}".encode("utf-8", "surrogatepass")
    return _PREFIX[kind] + hmac.new(key, message, hashlib.sha256).hexdigest()[:_DIGITS]


def study_key(path: Path) -> bytes:
    """Read a study's secret key (else `InputError`), or make one at the first call, readable by its owner alone."""
    try:
        with contextlib.suppress(FileExistsError), os.fdopen(os.open(path, _NEW, 0o600), "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES))
        return bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        remedy = "Delete it to start with new pseudonyms, or choose a folder you may write to"
        raise InputError(f"holds no key ({type(error).__name__})", file=path.name, remedy=remedy) from None
