"""Public sets of coronary angiograms: their own layouts turned into the study's tables."""

from pathlib import Path

from cag.data.public import arcade, cadica, danilov
from cag.data.public.common import PublicCohort, unreadable

__all__ = ["PublicCohort", "is_public", "read_public"]

_SETS = (arcade, cadica, danilov)


def is_public(path: Path) -> bool:
    """Whether a path is the unpacked folder of a public set this package reads."""
    return path.is_dir() and any(known.recognizes(path) for known in _SETS)


def read_public(folder: Path) -> PublicCohort:
    """Read a public set from its unpacked folder, whichever it is; a `ManifestError` if it is none of them."""
    known = next((known for known in _SETS if known.recognizes(folder)), None)
    if known is None:
        remedy = "Give the unpacked ARCADE (stenosis), CADICA (selectedVideos) or Danilov set (image_dir, xml_dir)"
        raise unreadable(folder, "has the layout of no public set", remedy=remedy)
    return known.read(folder)
