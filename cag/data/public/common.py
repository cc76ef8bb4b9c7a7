"""What the readers of public sets share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cag.data.fingerprint import path_digest
from cag.data.images import image_files, image_size
from cag.data.labels import CohortTables
from cag.data.tables import CORNERS


@dataclass(frozen=True)
class PublicCohort:
    """A public set as the study's tables.

    Attributes
    ----------
    tables : CohortTables
    folder : Path
        Folder the manifest's paths start from.
    counts : mapping of str to int
        How often each known quirk of the set was met, by what was done about it.
    """

    tables: CohortTables
    folder: Path
    counts: Mapping[str, int] = field(default_factory=dict)

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
        """
        manifest = pd.DataFrame(rows)
        table, box_counts = usable_boxes(pd.DataFrame(boxes), manifest) if boxes else (None, {})
        return cls(CohortTables.checked(manifest, boxes=table), folder, {**counts, **box_counts})


def image_row(folder: Path, path: Path, *, run_id: str, patient_id: str, source: str) -> dict[str, object]:
    """Manifest row of a run stored as an image or a folder of images; labels and timing unknown."""
    files = image_files(path)
    rows, columns = image_size(files[0])
    return {
        "run_id": run_id,
        "patient_id": patient_id,
        "path": path.relative_to(folder).as_posix(),
        "sha256": path_digest(path, files),
        "source": source,
        "n_frames": len(files),
        "rows": rows,
        "columns": columns,
        **dict.fromkeys(("fps", "primary_angle", "secondary_angle", "contrast_begin", "contrast_end"), np.nan),
        **dict.fromkeys(("artery", "view", "fingerprint"), None),
        "end_censored": False,
    }


def usable_boxes(boxes: pd.DataFrame, manifest: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Clip boxes to their images and drop what is left without area or stands there twice; count both."""
    sizes = manifest.set_index("run_id").reindex(boxes.run_id)
    clipped = boxes.copy()
    for corner, size in (("x1", "columns"), ("y1", "rows"), ("x2", "columns"), ("y2", "rows")):
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
