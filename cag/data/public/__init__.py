"""Public sets of coronary angiograms: their own layouts turned into the study's tables."""

from __future__ import annotations

from pathlib import Path

from cag.data.public import arcade, cadica, danilov
from cag.data.public.common import PublicCohort
from cag.settings import ManifestError

__all__ = ["PublicCohort", "is_public", "read_public"]

_SETS = (arcade, cadica, danilov)


def is_public(path: Path) -> bool:
    """Whether a path is the unpacked folder of a public set this package reads."""
    return path.is_dir() and any(known.recognizes(path) for known in _SETS)


def read_public(folder: Path) -> PublicCohort:
    """Read a public set from its unpacked folder, whichever it is.

    Raises
    ------
    ManifestError
        If the folder has the layout of none of them.
    """
    for known in _SETS if folder.is_dir() else ():
        if known.recognizes(folder):
            return known.read(folder)
    remedy = "Give the unpacked folder of ARCADE (stenosis), CADICA (selectedVideos) or Danilov (image_dir, xml_dir)"
    raise ManifestError("has the layout of no public set", file=folder.name, remedy=remedy)
