"""What the readers of public sets share."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cag.data.fingerprint import path_digest
from cag.data.images import image_files, image_size
from cag.data.tables import CohortTables
from cag.metrics.boxes import CORNERS
from cag.settings import ManifestError

Rows = list[dict[str, object]]


class PublicCohort(NamedTuple):
    """A public set as the study's tables, and how often each known quirk of it was met, by what was done about it."""

    tables: CohortTables  #: The manifest's paths start from the set's folder.
    counts: Mapping[str, int]


def public_cohort(rows: Rows, boxes: Rows, folder: Path, counts: Mapping[str, int]) -> PublicCohort:
    """The cohort of these runs (`ManifestError` if none), with their boxes: clipped, of some area, each once."""
    if not rows:
        left_out = "".join(f"; {count} {quirk}" for quirk, count in counts.items() if count)
        raise unreadable(folder, f"holds no annotated image or video{left_out}")
    manifest = pd.DataFrame(rows)
    if (twice := manifest.run_id.duplicated()).any():
        same = " and ".join(manifest.path[manifest.run_id == manifest.run_id[twice.argmax()]])
        problem, remedy = f"{same} have the same name", "Keep the one that is annotated"
        raise unreadable(folder, problem, field="file_name", remedy=remedy)
    if not boxes:
        return PublicCohort(CohortTables.checked(manifest), counts)
    given, sizes = pd.DataFrame(boxes), manifest.set_index("run_id")
    clipped = given.copy()
    for corner, size in zip(CORNERS, ("columns", "rows", "columns", "rows"), strict=True):
        clipped[corner] = given[corner].astype(float).clip(0, given.run_id.map(sizes[size]))
    changed = (clipped[CORNERS] != given[CORNERS]).any(axis=1)
    flat = ~((clipped.x2 > clipped.x1) & (clipped.y2 > clipped.y1))
    twice = clipped.duplicated(["run_id", "frame", *CORNERS])
    found = {
        "boxes clipped to the image": int((changed & ~flat).sum()),
        "boxes without area dropped": int(flat.sum()),
        "repeated boxes dropped": int((twice & ~flat).sum()),
    }
    return PublicCohort(CohortTables.checked(manifest, boxes=clipped[~flat & ~twice]), {**counts, **found})


def image_row(folder: Path, path: Path, *, run_id: str, patient_id: str, source: str) -> dict[str, object]:
    """Manifest row of a run stored as an image or a folder of images; labels and timing unknown."""
    files = image_files(path)
    rows, columns = image_size(files[0])
    return {
        **{"run_id": run_id, "patient_id": patient_id, "path": path.relative_to(folder).as_posix()},
        **{"sha256": path_digest(path), "source": source, "end_censored": False},
        **{"n_frames": len(files), "rows": rows, "columns": columns},
    }


def box(run_id: str, frame: int, x: float, y: float, width: float, height: float) -> dict[str, object]:
    """Row of a box by its corner, width and height, in pixels."""
    return {"run_id": run_id, "frame": frame, "x1": x, "y1": y, "x2": x + width, "y2": y + height}


def unreadable(path: Path, problem: str, *, field: str | None = None, remedy: str = "") -> ManifestError:
    """The refusal of a file of a set."""
    return ManifestError(problem, file=path.name, field=field, remedy=remedy or "Unpack the set again")
