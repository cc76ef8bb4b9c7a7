"""What a checked header means: number of frames, rate, C-arm angles, wherever the file keeps them."""

from __future__ import annotations

import math
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from cag.settings import DicomError

XA_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.12.1": "X-Ray Angiographic Image Storage",
    "1.2.840.10008.5.1.4.1.1.12.1.1": "Enhanced XA Image Storage",
}

#: Degrees by which angles may differ within a run that counts as one view.
_STEADY = 2.0
_AGAIN = "Export the run again from the archive"


def frame_count(dataset: Dataset) -> int:
    """Number of frames; one where the tag is absent (PS3.3 C.7.6.6)."""
    value = dataset.get("NumberOfFrames")
    return 1 if value in (None, "") else int(value)


def frame_rate(dataset: Dataset) -> float | None:
    """Frames a second at acquisition, or None where the file does not tell.

    First of: Cine Rate; 1000 / Frame Time; 1000 / mean of Frame Time Vector (whose first entry is 0);
    Recommended Display Frame Rate (PS3.3 C.7.6.5). Zero or less means unknown and passes to the next.
    """
    vector = dataset.get("FrameTimeVector")
    steps = [float(step) for step in vector][1:] if isinstance(vector, MultiValue) else []
    candidates = (
        _first(dataset, "CineRate"),
        _rate(_first(dataset, "FrameTime")),
        _rate(sum(steps) / len(steps) if steps else None),
        _first(dataset, "RecommendedDisplayFrameRate"),
    )
    return next((round(rate, 4) for rate in candidates if rate is not None and 0 < rate < 1000), None)


def _rate(milliseconds: float | None) -> float | None:
    return 1000 / milliseconds if milliseconds is not None and milliseconds > 0 else None


def angles(path: Path, dataset: Dataset) -> tuple[float | None, float | None]:
    """Positioner primary and secondary angle in degrees, LAO+ and CRA+ (PS3.3 C.8.7.5).

    None where the file gives none, or where the positioner moves during the run (one pair then
    describes no view).
    """
    if str(dataset.SOPClassUID) not in XA_CLASSES or dataset.get("PositionerMotion") == "DYNAMIC" or _turns(dataset):
        return None, None
    primary, secondary = (_first(dataset, f"Positioner{name}Angle") for name in ("Primary", "Secondary"))
    for name, angle in (("Primary", primary), ("Secondary", secondary)):
        if angle is not None and not abs(angle) <= 180:
            problem = f"{angle:g} is no angle in degrees"
            raise DicomError(problem, file=path.name, field=f"Positioner {name} Angle", remedy=_AGAIN)
    return primary, secondary


def _turns(dataset: Dataset) -> bool:
    """Whether the functional groups of an Enhanced XA object hold the C-arm at other angles at the end."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(frames) < 2:
        return False
    ends = [_in_group(frames[place], "PositionerPrimaryAngle") for place in (0, -1)]
    names = ("PositionerPrimaryAngle", "PositionerSecondaryAngle")
    first, last = ([float(end.get(name) or 0) for name in names] if end is not None else [] for end in ends)
    return any(abs(a - b) > _STEADY for a, b in zip(first, last, strict=False))


def _first(dataset: Dataset, keyword: str) -> float | None:
    """First value of a numeric tag, at the top or in the functional groups of Enhanced XA; None where absent."""
    found = find(dataset, keyword)
    value = found.get(keyword) if found is not None else None
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    if value in (None, ""):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def find(dataset: Dataset, keyword: str) -> Dataset | None:
    """The dataset that holds a tag: this one, or a functional group (shared, else of the first frame)."""
    if keyword in dataset:
        return dataset
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        items = dataset.get(groups) or []
        found = _in_group(items[0], keyword) if len(items) else None
        if found is not None:
            return found
    return None


def _in_group(group: Dataset, keyword: str) -> Dataset | None:
    """The item of a functional group that holds a tag."""
    items = (element.value[0] for element in group if element.VR == "SQ" and len(element.value))
    return next((item for item in items if keyword in item), None)
