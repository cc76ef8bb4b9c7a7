"""What every part stands on: refusals in one sentence, files that are whole or not there, typed settings."""

import ast
import contextlib
import difflib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from safetensors import SafetensorError

ROOT = Path(__file__).resolve().parent.parent
#: What `escaped` leaves of a character.
_ESCAPED = re.compile(r"\\u(?!0000)(00[01][0-9a-f]|005c|007[cf]|03[0-6][0-9a-f]|309[9a]|dc[89a-f][0-9a-f])")


class InputError(ValueError):
    """An input that was refused: the problem with its value, the file and field it is in, and the remedy.

    The message is one sentence for the person who ran the command. ``file`` is named below the folder the user gave,
    never by a patient identifier; ``field`` is a DICOM tag, a table's column or a parameter.
    """

    def __init__(
        self, problem: str, *, file: Path | str | None = None, field: str | None = None, remedy: str | None = None
    ) -> None:
        self.problem, self.file, self.field, self.remedy = problem, file, field, remedy
        place = ", ".join(str(part) for part in (file, field) if part is not None)
        sentence = f"{place}: {problem}" if place else problem
        super().__init__(printable(f"{sentence}. {remedy}" if remedy else sentence))

    @property
    def reason(self) -> str:
        """The sentence without the file's name, for a list of files."""
        return str(InputError(self.problem, field=self.field, remedy=self.remedy))


def quotable(text: str) -> str:
    """A text in quotes where it looks like a number; where anything else stands in its place, that may be a name."""
    return repr(text) if re.fullmatch(r"[\d²³¹.,;%<>+\- ]{0,7}", text) else "what stands there"


def printable(name: str) -> str:
    """A name with line breaks and the like, and bytes that are not UTF-8, escaped: a text that any screen takes."""
    return re.sub(r"[\0-\x1f\x7f\ud800-\udfff]", lambda odd: f"\\u{ord(odd[0]):04x}", name)


def escaped(path: str) -> str:
    """A path as `printable`, without ``|`` and loose accents, which tables change; undone by `unescaped`."""
    path = _ESCAPED.sub(lambda own: r"\u005c" + own[0][1:], path)
    return printable(re.sub(r"[|\u0300-\u036f\u3099\u309a]", lambda odd: f"\\u{ord(odd[0]):04x}", path))


def unescaped(path: str) -> str:
    """The path that was escaped."""
    return _ESCAPED.sub(lambda own: chr(int(own[1], 16)), path)


class DicomError(InputError):
    """A DICOM file that is unreadable, not angiography, or not safe to decode."""


class ManifestError(InputError):
    """A manifest or label table that breaks its contract."""


class SettingsError(InputError):
    """A parameter with an unknown name, a wrong type or an impossible value."""


class LabelError(InputError):
    """An experiment was asked of a cohort that lacks the labels it needs."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then move it into place; else as in ``writing``."""
    with writing(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made by open, which heeds the umask: a file of mkstemp would be readable by its owner alone.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{path.suffix}")
        temporary.open("xb").close()
        try:
            write(temporary)
            with temporary.open("rb") as file:  # else it may be empty after a power cut
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def writing(name: str) -> Iterator[None]:
    """Say by `InputError` what kept ``name`` from being written: a full disk, a folder that may not be written to."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk in its own way
        why = str(error).partition("I/O error: ")[2] or str(error)
        if isinstance(error, OSError) and error.errno:
            why = os.strerror(error.errno)
        remedy = "Free some space or choose a results folder you may write to, and run again: finished work is kept"
        raise InputError(f"cannot be written ({why})", file=name, remedy=remedy) from error


class Settings(BaseModel):
    """Base of every settings model: immutable, typed, no unknown field."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)

    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify these settings (SHA-256 of their canonical JSON)."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values; a `SettingsError` names a wrong parameter, its value and what would be accepted."""
        for name in values:
            if name not in cls.model_fields:
                raise _unknown(name, list(cls.model_fields))
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or cls.__name__
            problem = f"{first['input']!r} is not accepted ({first['msg'][:1].lower()}{first['msg'][1:]})"
            raise SettingsError(problem, field=name, remedy="Correct this parameter and run again") from None


def _unknown(name: str, known: list[str]) -> SettingsError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}"
    return SettingsError("no such parameter", field=name, remedy=hint)


Weights = Literal["imagenet", "xa", "xa-labels", "random"]


class StudySettings(Settings):
    """What every experiment is told, whichever it is."""

    profile: str = "demo"  #: Name of the results folder, ``results/<profile>``.
    #: Manifest of the cohort, relative to the project's root; ``simulated`` renders on demand.
    manifest: str = "data_manifest.csv"
    weights: Weights = "xa"  #: Where the trunk starts from.
    seed: int = 0  #: Seeds folds, initial weights, sampling and bootstrap.
    bootstrap: int = 1000  #: Patient resamples behind every interval.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    scheduler: str = ""  #: Address of a Dask scheduler whose workers train; the notebook's own process by default.
    _section: str = PrivateAttr("")

    @property
    def section(self) -> str:
        """Section of the notebook that was given these settings; empty outside a notebook."""
        return self._section

    @property
    def results(self) -> Path:
        """Folder of this profile's results."""
        return ROOT / "results" / self.profile

    @property
    def manifest_path(self) -> Path:
        """The manifest, resolved from the project's root."""
        return (ROOT / self.manifest).resolve()


S = TypeVar("S", bound=Settings)


def notebook_parameters(namespace: Mapping[str, Any], section: str, model: type[S]) -> S:
    """A notebook's parameters, checked, from its ``globals()``; a wrong one is a `SettingsError`.

    Values come from the notebook's parameters cell, are overridden by the ``section`` of a profile file
    (``papermill -f notebooks/parameters/paper.yaml``), and by single parameters (``-p``). Names that papermill
    injected and the notebook does not know are refused; ``In`` holds the cells executed so far.
    """
    injected = {
        node.id
        for cell in namespace.get("In", [])
        if cell.startswith("# Parameters")
        for node in ast.walk(ast.parse(cell))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    sections = {name for name in injected if isinstance(namespace[name], dict) and name not in model.model_fields}
    for name in injected - sections - set(model.model_fields):
        raise _unknown(name, list(model.model_fields))
    values = {name: namespace[name] for name in model.model_fields if name in namespace}
    chosen = namespace[section] if section in sections else {}
    settings = model.checked(values | {name: value for name, value in chosen.items() if name not in injected})
    if isinstance(settings, StudySettings):
        settings._section = section
    return settings
