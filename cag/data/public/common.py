"""What the readers of public sets share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cag.data.fingerprint import path_digest
from cag.data.images import image_files, image_size
from cag.data.tables import COLUMNS, CORNERS, CohortTables
from cag.settings import ManifestError


@dataclass(frozen=True)
class PublicCohort:
    """A public set as the study's tables.

    Attributes
    ----------
    tables : CohortTables
        The manifest's paths start from the set's folder.
    counts : mapping of str to int
        How often each known quirk of the set was met, by what was done about it.
    """

    tables: CohortTables
    counts: Mapping[str, int]

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Mapping[str, object]],
        boxes: Sequence[Mapping[str, object]],
        folder: Path,
        counts: Mapping[str, int],
    ) -> PublicCohort:
        """The cohort of these runs and of those of their boxes that can be used, the others counted.

        Raises
        ------
        ManifestError
            If there is no run, or a table breaks its limits.
        """
        if not rows:
            raise unreadable(folder, "holds no annotated image or video")
        manifest = pd.DataFrame(rows).reindex(columns=list(dict.fromkeys([*COLUMNS["data_manifest"], *rows[0]])))
        table, box_counts = _usable(pd.DataFrame(boxes), manifest) if boxes else (None, {})
        return cls(CohortTables.checked(manifest, boxes=table), {**counts, **box_counts})


def image_row(folder: Path, path: Path, *, run_id: str, patient_id: str, source: str) -> dict[str, object]:
    """Manifest row of a run stored as an image or a folder of images; labels and timing unknown."""
    files = image_files(path)
    rows, columns = image_size(files[0])
    return {
        **{"run_id": run_id, "patient_id": patient_id, "path": path.relative_to(folder).as_posix()},
        **{"sha256": path_digest(path, files), "source": source, "end_censored": False},
        **{"n_frames": len(files), "rows": rows, "columns": columns},
    }


def box(run_id: str, frame: int, x: float, y: float, width: float, height: float) -> dict[str, object]:
    """Row of a box by its corner, width and height, in pixels."""
    return {"run_id": run_id, "frame": frame, "x1": x, "y1": y, "x2": x + width, "y2": y + height}


def unreadable(path: Path, problem: str, *, field: str | None = None, remedy: str = "") -> ManifestError:
    """The refusal of a file of a set."""
    return ManifestError(problem, file=path.name, field=field, remedy=remedy or "Unpack the set again")


def _usable(boxes: pd.DataFrame, manifest: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Clip boxes to their images and drop what is left without area or stands there twice; count both."""
    sizes = manifest.set_index("run_id").reindex(boxes.run_id)
    clipped = boxes.copy()
    for corner, size in zip(CORNERS, ("columns", "rows", "columns", "rows"), strict=True):
        clipped[corner] = np.clip(boxes[corner].to_numpy(float), 0, sizes[size].to_numpy(float))
    changed = (clipped[CORNERS] != boxes[CORNERS]).any(axis=1)
    flat = ~((clipped.x2 > clipped.x1) & (clipped.y2 > clipped.y1))
    twice = clipped.duplicated(["run_id", "frame", *CORNERS])
    counts = {
        "boxes clipped to the image": int((changed & ~flat).sum()),
        "boxes without area dropped": int(flat.sum()),
        "repeated boxes dropped": int((twice & ~flat).sum()),
    }
    return clipped[~flat & ~twice].reset_index(drop=True), counts
