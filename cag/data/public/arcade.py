"""ARCADE, stenosis part: single angiograms with boxes of stenoses (Popov et al., Sci Data 2024, CC BY 4.0).

Artery, view, severity and patient are not given: groups of near-duplicate images stand where patients would in a split.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from PIL import Image
from pydantic import BaseModel, Field, ValidationError
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.sparse.csgraph import connected_components

from cag.data.fingerprint import cell_means
from cag.data.images import read_image
from cag.data.public.common import PublicCohort, box, image_row, public_cohort, unreadable

PARTS = ("train", "val", "test")
_STENOSIS = "stenosis"
#: Correlation from which two images count as frames of one run. Looked at in ARCADE's train and val: above it
#: pairs show one vessel tree, save for some dark collimated frames, which are grouped needlessly.
SIMILARITY = 0.4
THUMB = 64  #: Cells a side in which images are compared.
_COLLIMATOR, _SMOOTHING = 40.0, 4.0


class _Image(BaseModel):
    id: int
    file_name: str


class _Annotation(BaseModel):
    id: int
    image_id: int
    bbox: tuple[float, float, float, float] | Any = Field(None, union_mode="left_to_right")
    category_id: int | None = None
    segmentation: str | list[Any] | dict[str, Any] | None = "a plain box"


class _Coco(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[dict[str, Any]] = []


def recognizes(folder: Path) -> bool:
    """Whether a folder holds ARCADE's stenosis part (or is it)."""
    return bool(_annotations(folder))


def _annotations(folder: Path) -> dict[str, Path]:
    """The annotation file of each part that a folder holds; or of the one part that it is."""
    root = folder / _STENOSIS if (folder / _STENOSIS).is_dir() else folder
    places = [root] if (root / "annotations").is_dir() else [root / part for part in PARTS]
    return {own.name: own / "annotations" / f"{own.name}.json" for own in places if (own / "annotations").is_dir()}


def read(folder: Path) -> PublicCohort:
    """Read images, a run of one frame each, and boxes; images without any are left out, as one was forgotten."""
    counts = Counter({"images without annotation left out": 0, "images stored in color, read as grey": 0})
    files, boxes = list[tuple[str, Path]](), list[dict[str, object]]()
    for part, file in _annotations(folder).items():
        names, annotations, odd = read_coco(file)
        run_ids = {number: _run_id(part, name) for number, name in names.items()}
        annotated = sorted({number for number, *_ in annotations})
        counts.update(odd)
        counts["images without annotation left out"] += len(names) - len(annotated)
        files += [(run_ids[number], file.parents[1] / "images" / names[number]) for number in annotated]
        boxes += [box(run_ids[number], 0, *bbox) for number, bbox, _ in annotations]
    run_names, paths = zip(*files, strict=True) if files else ((), ())
    if absent := [path for path in paths if not path.is_file()]:
        raise unreadable(absent[0], "is annotated but not there")
    with ThreadPoolExecutor() as pool:
        thumbs = list(pool.map(lambda path: cell_means(read_image(path), THUMB), paths))
    for path in paths:
        with Image.open(path) as image:
            counts["images stored in color, read as grey"] += image.mode != "L" and not image.mode.startswith("I")
    groups = near_duplicate_groups(np.stack(thumbs)) if thumbs else np.empty(0, int)
    table = pd.DataFrame({"group": groups, "part": [run_id.split("_")[1] for run_id in run_names]})
    sizes = table.groupby("group").part.agg(["size", "nunique"])
    repeated = {
        "images in groups of near-duplicates": int(sizes["size"][sizes["size"] > 1].sum()),
        "groups of near-duplicates": int((sizes["size"] > 1).sum()),
        "groups that lie in more than one of the set's own parts": int((sizes["nunique"] > 1).sum()),
    }
    rows = [
        image_row(folder, path, run_id=run_id, patient_id=f"A{group + 1:04d}", source="arcade")
        for (run_id, path), group in zip(files, groups, strict=True)
    ]
    found = public_cohort(rows, boxes, folder, counts)
    return found._replace(counts={**found.counts, **repeated})


def outlines(folder: Path) -> dict[str, list[Float[np.ndarray, "p 2"]]]:
    """The outlines of the stenoses of each run, polygons in its pixels (x, y); a plain box is one of four points."""
    found = dict[str, list[np.ndarray]]()
    for part, file in _annotations(folder).items():
        names, annotations, _ = read_coco(file)
        for number, (x, y, width, height), points in annotations:
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            outline = np.reshape(points if len(points) >= 6 else corners, (-1, 2))
            found.setdefault(_run_id(part, names[number]), []).append(outline)
    return found


def _run_id(part: str, name: str) -> str:
    return f"arcade_{part}_{Path(name).stem.zfill(4)}"


def read_coco(path: Path) -> tuple[dict[int, str], list[tuple[int, list[float], list[float]]], Counter[str]]:
    """File names by image number; number, box (x, y, width, height), outline (x, y, ...) of each annotation; counts."""
    try:
        coco = _Coco.model_validate_json(path.read_bytes())
    except OSError as error:
        raise unreadable(path, f"is no COCO annotation file ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or None
        raise unreadable(path, f"is no COCO annotation file ({first['msg']})", field=where) from None
    images = {image.id: PureWindowsPath(image.file_name).name for image in coco.images}
    if len(images) < len(coco.images):
        raise unreadable(path, f"{len(coco.images) - len(images)} image numbers are given twice", field="id")
    named = {known.get("id", ""): str(known.get("name")).strip().casefold() for known in coco.categories}
    others = {number for number, name in named.items() if name != _STENOSIS}
    numbers, outline, kept = {a.id for a in coco.annotations}, "annotations whose outline has no points left out", []
    other, broken = "annotations of another category left out", "boxes with a missing or infinite number left out"
    counts = Counter({"annotation numbers used twice": len(coco.annotations) - len(numbers), other: 0})
    counts.update({outline: 0, broken: 0})
    for annotation in coco.annotations:
        if annotation.image_id not in images:
            problem = f"annotation {annotation.id} is of image {annotation.image_id}, which the file does not list"
            raise unreadable(path, problem, field="image_id")
        if annotation.category_id in others:
            counts[other] += 1
        elif not any(annotation.segmentation or []):
            counts[outline] += 1
        elif not isinstance(annotation.bbox, tuple) or not np.isfinite(annotation.bbox).all():
            counts[broken] += 1
        else:
            rings = annotation.segmentation if isinstance(annotation.segmentation, list) else []
            points = [value for ring in rings if isinstance(ring, list) for value in ring]
            kept.append((annotation.image_id, list(annotation.bbox), points))
    return images, kept, counts


def near_duplicate_groups(thumbs: Float[np.ndarray, "n s s"], similarity: float = SIMILARITY) -> Int[np.ndarray, " n"]:
    """Group images that correlate, directly or through others, without slow brightness and collimator; from 0."""
    inner = np.stack([binary_erosion(thumb > _COLLIMATOR, iterations=3) for thumb in thumbs]).astype(float)
    sigma = (0, _SMOOTHING, _SMOOTHING)
    background = gaussian_filter(thumbs * inner, sigma) / np.maximum(gaussian_filter(inner, sigma), 1e-3)
    detail = ((thumbs - background) * inner).reshape(len(thumbs), -1)
    detail /= np.maximum(np.linalg.norm(detail, axis=1, keepdims=True), 1e-9)
    _, groups = connected_components(detail @ detail.T >= similarity, directed=False)
    return groups
