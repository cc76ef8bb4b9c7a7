"""What an executed notebook was made from: it is kept while none of this changes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: What a notebook shows besides its cohort, by its stem: files and folders, from the project's root. Where the
#: environment names none, the notebook says so in their place.
SHOWN = {
    "01_cohort": ("$CAG_DATA/arcade", "results/published/simulator_acceptance.csv"),
    "02_frame_selection": ("$CAG_DATA/dicom_xa",),
}


def inputs_digest(notebook: Path, values: Mapping[str, Any], root: Path) -> str:
    """Everything a notebook's output depends on: itself, its parameters, the package, the weights, cohort and data.

    A file counts by its bytes. A folder of real data counts by the names and sizes of its files, and not by
    where it lies: public sets are large and do not change.

    Parameters
    ----------
    notebook : Path
    values : mapping
        Its parameters.
    root : Path
        Folder of the project.
    """
    digest = hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode())
    for file in (notebook, *sorted((root / "cag").rglob("*.py")), *sorted((root / "weights").glob("*"))):
        if file.is_file():
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    cohorts = (values.get("manifest", "data_manifest.csv"), values.get("transfer_manifest"))
    for name in (*filter(None, cohorts), *SHOWN.get(notebook.stem, ())):
        for line in _contents(root / os.path.expandvars(str(name))):
            digest.update(f"{name}\0{line}\n".encode())
    return digest.hexdigest()


def _contents(place: Path) -> Iterator[str]:
    """What is there, line by line; nothing where nothing is."""
    if place.is_file():
        yield hashlib.sha256(place.read_bytes()).hexdigest()
    elif place.is_dir():
        files = (path for path in sorted(place.rglob("*")) if path.is_file())
        yield from (f"{path.relative_to(place).as_posix()} {path.stat().st_size}" for path in files)
