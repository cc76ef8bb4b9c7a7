"""The simulator measured against its acceptance list; ARCADE below CAG_DATA serves as the real frames.

Run ``python -m benchmarks.simulator --out results/published/simulator_acceptance.csv``: chapter 1 shows that table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cag.simulator.acceptance import PARTS, Bench, real_angiograms
from cag.simulator.tables import simulator_digest


def main(
    part: Annotated[list[str] | None, typer.Option(help="Parts of the acceptance list; all by default")] = None,
    patients: Annotated[int, typer.Option(help="Simulated patients, a frame of each run")] = 150,
    out: Annotated[Path | None, typer.Option(help="Write the table as CSV as well")] = None,
) -> None:
    """Measure, print and store."""
    measured = Bench(patients=patients, real=real_angiograms()).measure(part or PARTS)
    typer.echo(measured.to_string(index=False))
    if out is not None:
        measured.assign(simulator=simulator_digest()).to_csv(out, index=False)


if __name__ == "__main__":
    typer.run(main)
