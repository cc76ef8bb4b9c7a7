"""Danilov et al. 2021 (Mendeley ydrm75xywg, CC BY 4.0): frames with boxes of single-vessel stenoses.

Layout: ``image_dir/<site>_<patient>_<view>_<frame>.bmp``, ``xml_dir/<same name>.xml`` (Pascal VOC), nothing else.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from cag.data.images import image_files
from cag.data.public.common import PublicCohort, image_row, public_cohort, unreadable


def recognizes(folder: Path) -> bool:
    """Whether a folder is the unpacked set."""
    return (folder / "image_dir").is_dir() and (folder / "xml_dir").is_dir()


def read(folder: Path) -> PublicCohort:
    """Read each frame as a run of one frame, with its boxes; names and annotations of another form are refused."""
    rows, boxes = list[dict[str, object]](), list[dict[str, object]]()
    images = image_files(folder / "image_dir")
    alone = {path.stem for path in (folder / "xml_dir").glob("[!.]*.xml")} - {image.stem for image in images}
    counts = {"images without annotation left out": 0, "annotations without an image left out": len(alone)}
    for image in images:
        annotation = folder / "xml_dir" / f"{image.stem}.xml"
        if not annotation.is_file():
            counts["images without annotation left out"] += 1
            continue
        if len(parts := image.stem.split("_")) != 4:
            problem = f"{image.stem!r} has {len(parts)} parts instead of 4"
            raise unreadable(image, problem, remedy="Names are site_patient_view_frame; unpack the set again")
        run_id, patient = f"danilov_{image.stem}", f"D{parts[0]}_{parts[1]}"
        rows.append(image_row(folder, image, run_id=run_id, patient_id=patient, source="danilov"))
        boxes += [{"run_id": run_id, "frame": 0, **box} for box in _boxes(annotation)]
    return public_cohort(rows, boxes, folder, counts)


def _boxes(path: Path) -> list[dict[str, float]]:
    """Boxes of a Pascal VOC file."""
    try:
        found = ElementTree.parse(path).iter("bndbox")
        corners = (("x1", "xmin"), ("y1", "ymin"), ("x2", "xmax"), ("y2", "ymax"))
        return [{corner: float(box.findtext(name, "").replace(",", ".")) for corner, name in corners} for box in found]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise unreadable(path, f"is no Pascal VOC annotation ({type(error).__name__})") from None
