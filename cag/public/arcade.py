"""ARCADE, stenosis part: single angiograms with boxes of stenoses (Popov et al., Sci Data 2024, CC BY 4.0).

It serves localization: nearly every image shows a stenosis, and artery, view, severity and patient
are not given. Near-duplicate images exist, also between its train and val parts; they are put in
groups, which stand where patients would in a split. A group is not a patient: images of one patient
in different views may lie in different groups.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.sparse.csgraph import connected_components

from cag.errors import ManifestError
from cag.images import read_image
from cag.labels import CohortTables
from cag.public.common import PublicCohort, image_row, usable_boxes

PARTS = ("train", "val", "test")
_STENOSIS = "stenosis"

#: Correlation from which two images count as frames of one run. Looked at in train and val: above it
#: pairs show one vessel tree, save for some dark collimated frames, which are grouped needlessly.
SIMILARITY = 0.4
_THUMB = 64
_COLLIMATOR = 40.0
_SMOOTHING = 4.0


def recognizes(folder: Path) -> bool:
    """Whether a folder holds ARCADE's stenosis part (or is it)."""
    return any((_root(folder) / part / "annotations").is_dir() for part in PARTS)


def _root(folder: Path) -> Path:
    return folder / _STENOSIS if (folder / _STENOSIS).is_dir() else folder


def read(folder: Path, parts: tuple[str, ...] = PARTS, similarity: float = SIMILARITY) -> PublicCohort:
    """Read images and boxes; an image is a run of one frame, a group of near-duplicates a patient.

    Images without annotation are left out: the set shows at least one of them to be an omission
    (train 218 equals val 58, which is annotated). Annotations that repeat a number are kept, since
    the number is not used; boxes are clipped, repeated or empty ones dropped. ``counts`` tells how many.

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
    root, counts = _root(folder), {"images without annotation left out": 0, "annotation numbers used twice": 0}
    images: list[tuple[str, Path]] = []
    boxes: list[dict[str, object]] = []
    for part in parts:
        if not (root / part / "annotations").is_dir():
            continue
        coco = _load(root / part / "annotations" / f"{part}.json")
        names = {image["id"]: root / part / "images" / image["file_name"] for image in coco["images"]}
        numbers = [annotation["id"] for annotation in coco["annotations"]]
        annotated = {annotation["image_id"] for annotation in coco["annotations"]}
        counts["images without annotation left out"] += len(set(names) - annotated)
        counts["annotation numbers used twice"] += len(numbers) - len(set(numbers))
        images += [(_run_id(part, names[i]), _existing(names[i])) for i in sorted(annotated & set(names))]
        boxes += [_box(part, names, annotation) for annotation in coco["annotations"]]
    if not images:
        remedy = "Unpack arcade.zip and give its folder"
        raise ManifestError("holds no annotated image", file=folder.name, remedy=remedy)
    return _cohort(folder, images, pd.DataFrame(boxes), counts, similarity)


def _cohort(
    folder: Path, images: list[tuple[str, Path]], boxes: pd.DataFrame, counts: dict[str, int], similarity: float
) -> PublicCohort:
    with ThreadPoolExecutor() as pool:
        thumbs = np.stack(list(pool.map(lambda image: thumbnail(read_image(image[1])), images)))
    groups = near_duplicate_groups(thumbs, similarity)
    rows = [
        image_row(folder, path, run_id=run_id, patient_id=f"A{group + 1:04d}", source="arcade")
        for (run_id, path), group in zip(images, groups, strict=True)
    ]
    manifest = pd.DataFrame(rows)
    boxes, box_counts = usable_boxes(boxes, manifest)
    counts |= box_counts | {"images in groups of near-duplicates": int((np.bincount(groups)[groups] > 1).sum())}
    return PublicCohort(CohortTables.checked(manifest, boxes=boxes), folder, counts)


def _load(path: Path) -> dict[str, Any]:
    try:
        coco = json.loads(path.read_text())
        for image in coco["images"]:
            if Path(image["file_name"]).name != image["file_name"]:
                raise ValueError("image name with a folder")
        if not all(len(annotation["bbox"]) == 4 for annotation in coco["annotations"]):
            raise ValueError("box without four numbers")
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"is no COCO annotation file ({type(error).__name__})"
        raise ManifestError(problem, file=path.name, remedy="Unpack arcade.zip again") from None
    return coco


def _run_id(part: str, path: Path) -> str:
    return f"arcade_{part}_{path.stem.zfill(4)}"


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ManifestError("is annotated but not there", file=path.name, remedy="Unpack arcade.zip again")
    return path


def _box(part: str, names: dict[int, Path], annotation: dict[str, Any]) -> dict[str, object]:
    if annotation["image_id"] not in names:
        problem = f"annotation {annotation['id']} is of an image the file does not list"
        raise ManifestError(problem, file=f"{part}.json", field="image_id", remedy="Unpack arcade.zip again")
    x, y, width, height = map(float, annotation["bbox"])
    corners = {"x1": x, "y1": y, "x2": x + width, "y2": y + height}
    return {"run_id": _run_id(part, names[annotation["image_id"]]), "frame": 0, **corners}


def thumbnail(image: np.ndarray) -> Float[np.ndarray, "s s"]:
    """An image as 64 x 64 cell means."""
    cells = [np.array_split(np.arange(size), _THUMB) for size in image.shape]
    starts = [[part[0] for part in axis] for axis in cells]
    sums = np.add.reduceat(np.add.reduceat(image.astype(float), starts[0], axis=0), starts[1], axis=1)
    return sums / np.outer([len(part) for part in cells[0]], [len(part) for part in cells[1]])


def near_duplicate_groups(thumbs: Float[np.ndarray, "n s s"], similarity: float = SIMILARITY) -> Int[np.ndarray, " n"]:
    """Group images that show the same picture, directly or through others; groups are numbered from 0.

    Compared is what is left of each image without its slow brightness changes and its collimator,
    which look alike in different patients.
    """
    inner = np.stack([binary_erosion(thumb > _COLLIMATOR, iterations=3) for thumb in thumbs]).astype(float)
    sigma = (0, _SMOOTHING, _SMOOTHING)
    background = gaussian_filter(thumbs * inner, sigma) / np.maximum(gaussian_filter(inner, sigma), 1e-3)
    detail = ((thumbs - background) * inner).reshape(len(thumbs), -1)
    detail /= np.maximum(np.linalg.norm(detail, axis=1, keepdims=True), 1e-9)
    _, groups = connected_components(detail @ detail.T >= similarity, directed=False)
    return groups
