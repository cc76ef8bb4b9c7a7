"""Runs that no simulator made, read by the frame selector that was trained on simulated ones.

``real_runs.csv`` holds which frames are visibly filled, as read by eye; no reference standard. ``begin_earliest`` and
``begin_latest`` are frames between which the proximal and middle artery become opaque, the event that the simulator's
truth is made of; ``complete`` is the first frame with filled branches, ``end`` the last filled one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8

from cag.chapters.frames.selector import FrameFinding, FrameSelector, find_interval
from cag.data.study import study_files

#: The variable that names the folder of public sets, and the folder of DICOM runs in it.
VARIABLE, FOLDER = "CAG_DATA", "dicom_xa"


class RealRun(NamedTuple):
    """A run, what the selector found in it, and its row of ``real_runs.csv``, empty where nobody read it."""

    name: str
    frames: UInt8[np.ndarray, "t h w"]
    finding: FrameFinding
    reading: pd.Series


def real_folder() -> Path | None:
    """The folder of real runs that the environment names; None where there is none."""
    folder = Path(os.environ.get(VARIABLE, "")) / FOLDER
    return folder if os.environ.get(VARIABLE) and folder.is_dir() else None


def read_real_runs(selector: FrameSelector, folder: Path | None) -> list[RealRun]:
    """Read every X-ray angiographic run of a folder by the trained selector; those read by eye come first.

    Files that are no such runs, or that show a single frame, are left out. A run that nobody read has a running number
    for a name, since file names may identify patients. None gives an empty list.
    """
    table = pd.read_csv(Path(__file__).with_suffix(".csv"), index_col="sha256")
    by_eye = {str(digest): reading for digest, reading in table.iterrows()}
    found: dict[str, RealRun] = {}
    files = study_files(folder, secrets.token_bytes(32), progress=False) if folder and any(folder.iterdir()) else ()
    for file in files:
        if file.cine is not None and file.cine.n_frames > 1:
            reading = by_eye.get(file.sha256, pd.Series(dtype=object))
            name = str(reading.get("name", f"run {len(found) + 1}"))
            finding = find_interval(torch.from_numpy(file.cine.frames), selector)
            found[file.sha256] = RealRun(name, file.cine.frames, finding, reading)
    return [found[key] for key in sorted(found, key=lambda key: [*by_eye, key].index(key))]
