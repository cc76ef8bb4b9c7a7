"""Hours and cost of the study at any size, from rates measured by ``benchmarks.gpu``; memory and disk without.

Run ``python -m benchmarks.estimates --rates card.csv --price 3.0 --out estimates.csv``; without rates it tells
what has to fit where, and no hours. The work is counted as published: every frame is rendered or read once and
its features computed; every classifier of the grid and every detector is trained for all its epochs. Nothing
ends early, so the hours are upper bounds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
import typer

#: The published grid: patients, views each, labeled frames a run with as many redundancy frames at most,
#: classifiers, folds, training systems, epochs (patience may end earlier).
GRID = {"patients": 230, "runs": 7, "frames": 20, "views": 5, "folds": 4, "systems": 4, "epochs": 200}

#: Frames of a run: the middle of the published 60 to 200. Assumed: two boxes in each, and lesions in every run,
#: of which the detector takes two frames; both are upper bounds.
FRAMES_PER_RUN, BOXES_PER_FRAME, LESION_FRAMES = 130, 2, 2
#: Folds times arms, and epochs, of the detector.
DETECTORS, DETECTOR_EPOCHS = 8, 500
SIZE = 512


class Rates(NamedTuple):
    """Images a second of one machine at the published size."""

    train: float
    infer: float
    detect: float
    render: float

    @classmethod
    def of(cls, table: pd.DataFrame) -> Rates:
        """From the table of ``benchmarks.gpu``: its largest size."""
        rows = table.sort_values("size").groupby("what").value.last()
        names = ("training, loop", "prediction, loop", "detector training, loop", "simulator")
        return cls(*(float(rows[name]) for name in names))


def estimate(studies: int, rates: Rates, price: float) -> dict[str, float]:
    """Hours of each stage on one such machine, machines for a week, and cost.

    Parameters
    ----------
    price : float
        Of an hour of one machine.

    Returns
    -------
    dict
        ``studies, frames_hours, grid_hours, detector_hours, hours, machines_for_a_week, cost``.
    """
    runs = studies * GRID["runs"]
    frames, drawn = runs * FRAMES_PER_RUN, runs * GRID["frames"]
    share = 1 - 1 / GRID["folds"]
    seconds = {
        "frames": frames / rates.render + frames / rates.infer,
        "grid": drawn * share * GRID["epochs"] * GRID["folds"] * GRID["systems"] / rates.train,
        "detector": runs * LESION_FRAMES * share * DETECTOR_EPOCHS * DETECTORS / rates.detect,
    }
    hours = {name: value / 3600 for name, value in seconds.items()}
    total = sum(hours.values())
    return {
        "studies": studies,
        **{f"{name}_hours": value for name, value in hours.items()},
        "hours": total,
        "machines_for_a_week": total / (7 * 24),
        "cost": total * price,
    }


def sizes(studies: int) -> dict[str, float]:
    """What has to fit where.

    Returns
    -------
    dict
        ``studies, dicom_gib`` (uncompressed), ``frames_gib`` (grey levels that one process of the grid holds),
        ``manifest_rows_thousands`` and ``box_rows_millions`` (tables that every process holds).
    """
    runs = studies * GRID["runs"]
    return {
        "studies": studies,
        "dicom_gib": runs * FRAMES_PER_RUN * SIZE**2 / 2**30,
        "frames_gib": runs * GRID["frames"] * SIZE**2 / 2**30,
        "manifest_rows_thousands": runs / 1e3,
        "box_rows_millions": runs * FRAMES_PER_RUN * BOXES_PER_FRAME / 1e6,
    }


#: Heads of the table that is stored, in words.
HEADS = {
    "studies": "Studies",
    "frames_hours": "Frames (h)",
    "grid_hours": "Classifiers (h)",
    "detector_hours": "Detectors (h)",
    "hours": "In all (h)",
    "machines_for_a_week": "Machines for a week",
    "cost": "Cost",
    "dicom_gib": "Uncompressed DICOM (GiB)",
    "frames_gib": "Frames one process holds (GiB)",
    "manifest_rows_thousands": "Manifest (thousand rows)",
    "box_rows_millions": "Boxes (million rows)",
}


def readable(found: pd.DataFrame) -> pd.DataFrame:
    """The estimates for a page: heads in words, whole numbers in groups of three, small ones to two digits."""
    cells = found.astype(object).map(lambda value: f"{value:,.0f}" if value >= 10 else f"{value:.2g}")
    return cells.rename(columns=HEADS)


def main(
    rates: Annotated[Path | None, typer.Option(help="CSV of benchmarks.gpu; only sizes without it")] = None,
    price: Annotated[float, typer.Option(help="of an hour of one such machine, in any currency")] = 1.0,
    studies: Annotated[str, typer.Option(help="numbers, with commas")] = "230,10000,1000000",
    out: Annotated[Path | None, typer.Option(help="CSV of the estimates, as the book shows them")] = None,
) -> None:
    """Print the estimates."""
    counts = [int(count) for count in studies.split(",")]
    measured = None if rates is None else Rates.of(pd.read_csv(rates))
    found = pd.DataFrame([sizes(count) if measured is None else estimate(count, measured, price) for count in counts])
    typer.echo(found.T.to_string(header=False, float_format=lambda value: f"{value:,.1f}"))
    if out is not None:
        readable(found).to_csv(out, index=False)


if __name__ == "__main__":
    typer.run(main)
