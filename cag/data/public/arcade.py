"""ARCADE, stenosis part: single angiograms with boxes of stenoses (Popov et al., Sci Data 2024, CC BY 4.0).

It serves localization: nearly every image shows a stenosis, and artery, view, severity and patient
are not given. Near-duplicate images exist, also between its train and val parts; they are put in
groups, which stand where patients would in a split. A group is not a patient: images of one patient
in different views may lie in different groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int
from PIL import Image

from cag.data.images import read_image
from cag.data.labels import CohortTables
from cag.data.public.coco_file import LEFT_OUT, read_coco
from cag.data.public.common import PublicCohort, image_row, usable_boxes
from cag.data.public.near_duplicates import SIMILARITY, near_duplicate_groups, thumbnail
from cag.settings import ManifestError

PARTS = ("train", "val", "test")
_STENOSIS = "stenosis"
#: What is counted of the set as a whole; a count of 0 is shown too, so that one sees what was looked for.
QUIRKS = (
    "images without annotation left out",
    "images stored in color, read as grey",
    "annotation numbers used twice",
    *LEFT_OUT,
)


def recognizes(folder: Path) -> bool:
    """Whether a folder holds ARCADE's stenosis part (or is it)."""
    return any((_root(folder) / part / "annotations").is_dir() for part in PARTS)


def _root(folder: Path) -> Path:
    return folder / _STENOSIS if (folder / _STENOSIS).is_dir() else folder


def read(folder: Path, parts: tuple[str, ...] = PARTS, similarity: float = SIMILARITY) -> PublicCohort:
    """Read images and boxes; an image is a run of one frame, a group of near-duplicates a patient.

    Images without annotation are left out: the set shows at least one of them to be an omission
    (train 218 equals val 58, which is annotated). What else is left out, or kept although odd,
    ``coco_file.read_coco`` and ``common.usable_boxes`` say; ``counts`` tells how often.

    Parameters
    ----------
    folder : Path
        The unpacked set: holds ``stenosis``, or ``train`` and ``val``.
    parts : tuple of str
        Of ``train``, ``val``, ``test``; absent ones are passed over.
    similarity : float, 0-1
        Correlation of images from which they belong to one group.

    Raises
    ------
    ManifestError
        If the annotations cannot be read or name images that are not there.
    """
    root, counts = _root(folder), Counter(dict.fromkeys(QUIRKS, 0))
    images: list[tuple[str, Path]] = []
    boxes: list[dict[str, object]] = []
    for part in parts:
        if not (root / part / "annotations").is_dir():
            continue
        coco = read_coco(root / part / "annotations" / f"{part}.json", _STENOSIS)
        names = {number: root / part / "images" / name for number, name in coco.images.items()}
        annotated = {annotation["image_id"] for annotation in coco.annotations}
        counts.update(coco.counts)
        counts["images without annotation left out"] += len(set(names) - annotated)
        images += [(_run_id(part, names[i]), _existing(names[i])) for i in sorted(annotated)]
        boxes += [_box(_run_id(part, names[own["image_id"]]), own["bbox"]) for own in coco.annotations]
    if not images:
        remedy = "Unpack arcade.zip and give its folder"
        raise ManifestError("holds no annotated image", file=folder.name, remedy=remedy)
    return _cohort(folder, images, pd.DataFrame(boxes), counts, similarity)


def image_groups(paths: Sequence[Path], similarity: float = SIMILARITY) -> Int[np.ndarray, " n"]:
    """Near-duplicate group of each image file (``near_duplicates.near_duplicate_groups``)."""
    with ThreadPoolExecutor() as pool:
        return near_duplicate_groups(np.stack(list(pool.map(_thumbnail_of, paths))), similarity)


def _thumbnail_of(path: Path) -> np.ndarray:
    return thumbnail(read_image(path))


def _cohort(
    folder: Path, images: list[tuple[str, Path]], boxes: pd.DataFrame, counts: Counter[str], similarity: float
) -> PublicCohort:
    paths = [path for _, path in images]
    groups = image_groups(paths, similarity)
    rows = [
        image_row(folder, path, run_id=run_id, patient_id=f"A{group + 1:04d}", source="arcade")
        for (run_id, path), group in zip(images, groups, strict=True)
    ]
    manifest = pd.DataFrame(rows)
    boxes, box_counts = usable_boxes(boxes, manifest)
    counts["images stored in color, read as grey"] = sum(map(_in_color, paths))
    counts.update(box_counts)
    counts.update(_group_counts(groups, [run_id.split("_")[1] for run_id, _ in images]))
    return PublicCohort(CohortTables.checked(manifest, boxes=boxes), folder, dict(counts))


def _in_color(path: Path) -> bool:
    with Image.open(path) as image:
        return image.mode != "L"


def _group_counts(groups: Int[np.ndarray, " n"], parts: Sequence[str]) -> dict[str, int]:
    """How much of the set is repeated, and over how many groups its own train and val parts leak."""
    table = pd.DataFrame({"group": groups, "part": parts}).groupby("group").part.agg(["size", "nunique"])
    return {
        "images in groups of near-duplicates": int(table["size"][table["size"] > 1].sum()),
        "groups of near-duplicates": int((table["size"] > 1).sum()),
        "groups that lie in more than one of the set's own parts": int((table["nunique"] > 1).sum()),
    }


def _run_id(part: str, path: Path) -> str:
    return f"arcade_{part}_{path.stem.zfill(4)}"


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ManifestError("is annotated but not there", file=path.name, remedy="Unpack arcade.zip again")
    return path


def _box(run_id: str, bbox: Sequence[float]) -> dict[str, object]:
    x, y, width, height = bbox
    return {"run_id": run_id, "frame": 0, "x1": x, "y1": y, "x2": x + width, "y2": y + height}
