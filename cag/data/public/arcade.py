"""ARCADE, stenosis part: single angiograms with boxes of stenoses (Popov et al., Sci Data 2024, CC BY 4.0).

It serves localization: nearly every image shows a stenosis, and artery, view, severity and patient
are not given. Near-duplicate images exist, also between its train and val parts; they are put in
groups, which stand where patients would in a split. A group is not a patient: images of one patient
in different views may lie in different groups.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from PIL import Image
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.sparse.csgraph import connected_components

from cag.data.fingerprint import cell_means
from cag.data.images import read_image
from cag.data.public.common import PublicCohort, box, image_row, unreadable

PARTS = ("train", "val", "test")
_STENOSIS = "stenosis"
#: Why an annotation is left out, in the order in which it is asked.
LEFT_OUT = (
    "annotations of another category left out",
    "annotations whose outline has no points left out",
    "boxes with a missing or infinite number left out",
)
#: What is counted of the set as a whole; a count of 0 is shown too, so that one sees what was looked for.
QUIRKS = (
    "images without annotation left out",
    "images stored in color, read as grey",
    "annotation numbers used twice",
    *LEFT_OUT,
)
#: Correlation from which two images count as frames of one run. Looked at in ARCADE's train and val: above it
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


def read(folder: Path, parts: tuple[str, ...] = PARTS) -> PublicCohort:
    """Read images and boxes; an image is a run of one frame, a group of near-duplicates a patient.

    Images without annotation are left out: the set shows at least one of them to be an omission
    (train 218 equals val 58, which is annotated). What else is left out, or kept although odd,
    `read_coco` and `PublicCohort.of_rows` say; ``counts`` tells how often.

    Parameters
    ----------
    folder : Path
        The unpacked set: holds ``stenosis``, or ``train`` and ``val``.
    parts : tuple of str
        Of ``train``, ``val``, ``test``; absent ones are passed over.

    Raises
    ------
    ManifestError
        If the annotations cannot be read or name images that are not there.
    """
    counts = Counter(dict.fromkeys(QUIRKS, 0))
    files: dict[str, Path] = {}
    boxes: list[dict[str, object]] = []
    for part in parts:
        place = _root(folder) / part
        if not (place / "annotations").is_dir():
            continue
        names, annotations, odd = read_coco(place / "annotations" / f"{part}.json", _STENOSIS)
        run_ids = {number: f"arcade_{part}_{Path(name).stem.zfill(4)}" for number, name in names.items()}
        annotated = sorted({number for number, _ in annotations})
        counts.update(odd)
        counts["images without annotation left out"] += len(names) - len(annotated)
        files |= {run_ids[number]: _existing(place / "images" / names[number]) for number in annotated}
        boxes += [box(run_ids[number], 0, *bbox) for number, bbox in annotations]
    if not files:
        raise unreadable(folder, "holds no annotated image", remedy="Unpack arcade.zip and give its folder")
    groups = image_groups(list(files.values()))
    counts["images stored in color, read as grey"] = sum(map(_in_color, files.values()))
    rows = [
        image_row(folder, path, run_id=run_id, patient_id=f"A{group + 1:04d}", source="arcade")
        for (run_id, path), group in zip(files.items(), groups, strict=True)
    ]
    found = PublicCohort.of_rows(rows, boxes, folder, counts)
    repeated = _group_counts(groups, [run_id.split("_")[1] for run_id in files])
    return PublicCohort(found.tables, {**found.counts, **repeated})


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise unreadable(path, "is annotated but not there", remedy="Unpack arcade.zip again")
    return path


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


def read_coco(path: Path, category: str) -> tuple[dict[int, str], list[tuple[int, list[float]]], Counter[str]]:
    """File name of each image number; image number and box (x, y, width, height) of each usable annotation; counts.

    Left out and counted: annotations of another category, with a missing or infinite number in
    their box, and those whose outline has no points. Kept and counted: annotations that repeat a
    number, since the number is not used. An annotation without the field ``segmentation`` is a
    plain box.

    Raises
    ------
    ManifestError
        No JSON, a missing field, an image name with a folder, an image number given twice, or an
        annotation of an image that the file does not list.
    """
    coco = _load(path)
    images = {image["id"]: str(image["file_name"]) for image in coco["images"]}
    if len(images) < len(coco["images"]):
        raise unreadable(path, f"{len(coco['images']) - len(images)} image numbers are given twice", field="id")
    others = {known["id"] for known in coco.get("categories", []) if known.get("name") != category}
    numbers = [annotation["id"] for annotation in coco["annotations"]]
    counts = Counter({"annotation numbers used twice": len(numbers) - len(set(numbers))})
    kept = []
    for annotation in coco["annotations"]:
        image = annotation["image_id"]
        if image not in images:
            problem = f"annotation {annotation['id']} is of image {image}, which the file does not list"
            raise unreadable(path, problem, field="image_id")
        if reason := _unusable(annotation, others):
            counts[reason] += 1
        else:
            kept.append((image, [float(x) for x in annotation["bbox"]]))
    return images, kept, counts


def _unusable(annotation: dict[str, Any], others: set[int]) -> str:
    """The first of ``LEFT_OUT`` that applies; empty for a usable annotation."""
    if annotation.get("category_id") in others:
        return LEFT_OUT[0]
    if "segmentation" in annotation and not any(annotation["segmentation"] or []):
        return LEFT_OUT[1]
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in annotation["bbox"]):
        return LEFT_OUT[2]
    return ""


def _load(path: Path) -> dict[str, Any]:
    try:
        coco: dict[str, Any] = json.loads(path.read_text())
        if any(Path(image["file_name"]).name != image["file_name"] or image["id"] is None for image in coco["images"]):
            raise ValueError("image name with a folder")
        if not all(len(a["bbox"]) == 4 and "id" in a and "image_id" in a for a in coco["annotations"]):
            raise ValueError("box without four numbers, or an annotation without a number or an image")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, f"is no COCO annotation file ({type(error).__name__})") from None
    return coco


def image_groups(paths: Sequence[Path]) -> Int[np.ndarray, " n"]:
    """Near-duplicate group of each image file."""
    with ThreadPoolExecutor() as pool:
        return near_duplicate_groups(np.stack(list(pool.map(lambda path: thumbnail(read_image(path)), paths))))


def thumbnail(image: np.ndarray) -> Float[np.ndarray, "s s"]:
    """An image as 64 x 64 cell means."""
    return cell_means(image, _THUMB)


def near_duplicate_groups(thumbs: Float[np.ndarray, "n s s"], similarity: float = SIMILARITY) -> Int[np.ndarray, " n"]:
    """Group images that show the same picture, directly or through others; groups are numbered from 0.

    Compared is what is left of each image without its slow brightness changes and its collimator,
    which look alike in different patients; ``similarity`` is the correlation from which two images are one group.
    """
    inner = np.stack([binary_erosion(thumb > _COLLIMATOR, iterations=3) for thumb in thumbs]).astype(float)
    sigma = (0, _SMOOTHING, _SMOOTHING)
    background = gaussian_filter(thumbs * inner, sigma) / np.maximum(gaussian_filter(inner, sigma), 1e-3)
    detail = ((thumbs - background) * inner).reshape(len(thumbs), -1)
    detail /= np.maximum(np.linalg.norm(detail, axis=1, keepdims=True), 1e-9)
    _, groups = connected_components(detail @ detail.T >= similarity, directed=False)
    return groups
