"""One COCO annotation file: its images and usable annotations, and what was wrong with the others."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cag.settings import ManifestError

_REMEDY = "Unpack the set again"


@dataclass(frozen=True)
class CocoFile:
    """What one file says.

    Attributes
    ----------
    images : mapping of image number to file name
    annotations : list of dict
        ``image_id`` and ``bbox`` (x, y, width, height; finite), in the file's order.
    counts : Counter
        How many annotations were left out, or kept although odd, by reason.
    """

    images: dict[int, str]
    annotations: Sequence[dict[str, Any]]
    counts: Counter[str]


def read_coco(path: Path, category: str) -> CocoFile:
    """Read a file and sort its annotations.

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
        problem = f"{len(coco['images']) - len(images)} image numbers are given twice"
        raise ManifestError(problem, file=path.name, field="id", remedy=_REMEDY)
    others = {known["id"] for known in coco.get("categories", []) if known.get("name") != category}
    numbers = [annotation["id"] for annotation in coco["annotations"]]
    counts = Counter({"annotation numbers used twice": len(numbers) - len(set(numbers))})
    kept = []
    for annotation in coco["annotations"]:
        if annotation["image_id"] not in images:
            problem = (
                f"annotation {annotation['id']} is of image {annotation['image_id']}, which the file does not list"
            )
            raise ManifestError(problem, file=path.name, field="image_id", remedy=_REMEDY)
        reason = _unusable(annotation, others)
        counts.update([reason] if reason else [])
        if not reason:
            kept.append({"image_id": annotation["image_id"], "bbox": [float(x) for x in annotation["bbox"]]})
    return CocoFile(images, kept, counts)


#: Why an annotation is left out, in the order in which it is asked.
LEFT_OUT = (
    "annotations of another category left out",
    "annotations whose outline has no points left out",
    "boxes with a missing or infinite number left out",
)


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
        coco = json.loads(path.read_text())
        if any(Path(image["file_name"]).name != image["file_name"] or image["id"] is None for image in coco["images"]):
            raise ValueError("image name with a folder")
        if not all(len(annotation["bbox"]) == 4 for annotation in coco["annotations"]):
            raise ValueError("box without four numbers")
        if any(name not in annotation for annotation in coco["annotations"] for name in ("id", "image_id")):
            raise ValueError("annotation without a number or an image")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is no COCO annotation file ({type(error).__name__})"
        raise ManifestError(problem, file=path.name, remedy=_REMEDY) from None
    return coco
