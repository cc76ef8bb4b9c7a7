"""What may be published of a run on real angiograms: its tables and curves, and no picture of a patient."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from cag.book.build import PUBLISHED
from cag.book.swap import replace_folder
from cag.settings import ROOT, InputError

#: The figures that show neither pixels nor where the set's own boxes lie.
CURVES = ("fig_froc",)


def publish_real(profile: str, section: str = "localization") -> Path:
    """Put a real run's tables, prediction tables and curves in ``results/published/measured``.

    True boxes stay behind with the pictures, and so do those of the place prior, which are some of them: all belong
    to the set, under its own license.

    Parameters
    ----------
    profile : str
        Results folder, such as ``arcade``.
    section : str
        Notebook section whose results are meant.

    Raises
    ------
    InputError
        If the profile has no such results.
    """
    source = ROOT / "results" / profile
    if not (source / "exhibits" / section / "run_line.txt").exists():
        problem = f"holds no results of the section {section}"
        raise InputError(
            problem, file=f"results/{profile}", remedy=f"Execute its notebook with profile {profile} first"
        )

    def fill(draft: Path) -> None:
        for path in _for_everyone(source, section):
            if path.suffix == ".parquet":
                _without_prior(pd.read_parquet(path)).to_parquet(draft / path.name, index=False)
            else:
                shutil.copyfile(path, draft / path.name)

    return replace_folder(ROOT / "results" / PUBLISHED / "measured" / profile, fill)


def _without_prior(table: pd.DataFrame) -> pd.DataFrame:
    """A table without the boxes of the place prior; one that holds no boxes as it is."""
    return table[table["method"] != "prior"] if {"method", "x1"} <= set(table.columns) else table


def _for_everyone(source: Path, section: str) -> Iterator[Path]:
    yield source / "exhibits" / section / "run_line.txt"
    yield from sorted((source / "tables").glob(f"{section}_*.csv"))
    yield from (path for path in sorted(source.glob(f"{section}*.parquet")) if not path.stem.endswith("_truth"))
    yield from (path for name in CURVES if (path := source / "exhibits" / section / f"{name}.svg").exists())
