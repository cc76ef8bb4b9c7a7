"""CADICA: selected videos of 42 patients with boxes by severity class (Jimenez-Partinen et al. 2024, CC BY 4.0).

Layout: ``selectedVideos/pX/vY/input/pX_vY_NNNNN.png``, ``groundtruth/pX_vY_NNNNN.txt`` (``x y w h class``),
``pX/lesionVideos.txt`` and ``nonlesionVideos.txt``. Artery, view, timing and contrast are not given.
"""

from pathlib import Path

from cag.data.images import image_files
from cag.data.public.common import PublicCohort, box, image_row, public_cohort, unreadable

#: Severity class -> percent diameter stenosis, the middle of its range.
SEVERITY = {"p0_20": 10.0, "p20_50": 35.0, "p50_70": 60.0, "p70_90": 80.0, "p90_98": 94.0, "p99": 99.0, "p100": 100.0}
_TOP, _TEXT = "selectedVideos", {"encoding": "utf-8-sig", "errors": "replace"}


def recognizes(folder: Path) -> bool:
    """Whether a folder is the unpacked set."""
    return (folder / _TOP).is_dir()


def read(folder: Path) -> PublicCohort:
    """Read videos as runs with ``has_lesion``, if it stands in one list, and boxes with ``severity_class``."""
    rows, boxes = list[dict[str, object]](), list[dict[str, object]]()
    counts = {"boxes of frames without an image left out": 0, "videos without an image left out": 0}
    counts |= {"videos in neither list or in both": 0}
    for images in sorted((folder / _TOP).glob("p*/v*/input")):
        video, files = images.parent, image_files(images)
        if not files:
            counts["videos without an image left out"] += 1
            continue
        patient = video.parent.name
        lists = {True: video.parent / "lesionVideos.txt", False: video.parent / "nonlesionVideos.txt"}
        listed = {told: file.read_text(**_TEXT).split() for told, file in lists.items() if file.is_file()}
        verdicts = [told for told, names in listed.items() if video.name in names]
        run_id = f"cadica_{patient}_{video.name}"
        patient_id = f"C{patient.removeprefix('p').zfill(4)}"  # in the order of the numbers
        row = image_row(folder, images, run_id=run_id, patient_id=patient_id, source="cadica")
        rows.append({**row, "has_lesion": verdicts[0] if len(verdicts) == 1 else None})
        counts["videos in neither list or in both"] += len(verdicts) != 1
        frames = {file.stem.casefold(): frame for frame, file in enumerate(files)}
        for truth in sorted((video / "groundtruth").glob("[!.]*.[tT][xX][tT]")):
            lines = enumerate(truth.read_text(**_TEXT).splitlines(), start=1)
            frame = frames.get(truth.stem.casefold(), -1)
            found = [_box(truth, line, text, run_id, frame) for line, text in lines if text.strip()]
            if frame >= 0:
                boxes += found
            else:
                counts["boxes of frames without an image left out"] += len(found)
    return public_cohort(rows, boxes, folder, counts)


def _box(path: Path, line: int, text: str, run_id: str, frame: int) -> dict[str, object]:
    try:
        *corner, severity = text.split()
        x, y, width, height = map(float, corner)
        found = {"percent_stenosis": SEVERITY[severity.lower()], "severity_class": severity.lower()}
    except (ValueError, KeyError):
        raise unreadable(path, f"line {line}: {text[:40]!r} is not x y w h class") from None
    return {**box(run_id, frame, x, y, width, height), **found}
