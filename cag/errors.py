"""What the study says when it is given something it cannot use."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """An input that was refused: what, where, which value, and the remedy.

    The message is one sentence for the person who ran the command. It names a file by its name
    below the folder the user gave, never a patient identifier.

    Parameters
    ----------
    problem : str
        What is wrong, including the offending value.
    file : Path or str, optional
        The file in which it was found.
    field : str, optional
        The DICOM tag, table column or parameter.
    remedy : str, optional
        What to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: Path | str | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem, self.file, self.field, self.remedy = problem, file, field, remedy
        place = ", ".join(str(part) for part in (file, field) if part is not None)
        sentence = f"{place}: {problem}" if place else problem
        super().__init__(f"{sentence}. {remedy}" if remedy else sentence)


class DicomError(InputError):
    """A DICOM file that is unreadable, not angiography, or not safe to decode."""


class ManifestError(InputError):
    """A manifest or label table that breaks its contract."""


class SettingsError(InputError):
    """A parameter with an unknown name, a wrong type or an impossible value."""


class LabelError(InputError):
    """An experiment was asked of a cohort that lacks the labels it needs."""
