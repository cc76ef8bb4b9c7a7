"""How long the playground takes to answer each control.

Run ``python benchmarks/playground.py``. Each control is moved to 20 random places, the others rest; the medians
of the stages and of the whole are printed, as wall time and as processor time (the two differ on a busy machine).
The aim is a picture in under 0.5 s on two cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import typer

from cag.book.figures.playground import picture_png
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.playground import LATEST_S, SHOWN, Choice, measure_profile, open_renderer

Clock = Callable[[], float]
#: What each control is moved to, given the other random numbers' generator.
MOVES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "primary_angle": lambda rng: {"primary_angle": float(rng.integers(-90, 91))},
    "secondary_angle": lambda rng: {"secondary_angle": float(rng.integers(-45, 46))},
    "position": lambda rng: {"position": float(rng.random())},
    "percent_stenosis": lambda rng: {"percent_stenosis": float(rng.integers(0, 101))},
    "length_mm": lambda rng: {"length_mm": float(rng.integers(2, 61))},
    "heart_phase": lambda rng: {"heart_phase": float(rng.random())},
    "contrast_s": lambda rng: {"contrast_s": float(rng.uniform(0, LATEST_S))},
    "segment": lambda rng: {"segment": int(rng.choice([1, 2, 11, 12, 13, 18, 19]))},
    "patient_id": lambda rng: {"patient_id": f"P{rng.integers(1, 25):04d}"},
}
STAGES = ("set-up", "frame", "box", "profile", "whole")


def stages(cohort: CohortPlan, choice: Choice, clock: Clock) -> list[float]:
    """Seconds of each stage of a picture without drawing; set-up is tree, scene and a new view's background."""
    marks = [clock()]
    renderer = open_renderer(cohort, choice)
    marks.append(clock())
    frame = renderer.render([SHOWN])[0].numpy()
    marks.append(clock())
    renderer.boxes([SHOWN])
    marks.append(clock())
    measure_profile(renderer, frame)
    return np.diff([*marks, clock()]).tolist()


def moved(cohort: CohortPlan, start: Choice, name: str, times: int, clock: Clock) -> list[float]:
    """Median seconds of the stages of ``times`` moves, and of the whole picture of as many others."""
    rng = np.random.default_rng(0)
    picture_png(cohort, start)
    parts, wholes = [], []
    for _ in range(times):
        choice = start.model_copy(update=MOVES[name](rng))
        parts.append(stages(cohort, choice, clock))
        choice = start.model_copy(update=MOVES[name](rng))
        begin = clock()
        picture_png(cohort, choice)
        wholes.append(clock() - begin)
    return [*np.median(parts, axis=0), float(np.median(wholes))]


def main(
    size: Annotated[int, typer.Option(help="rows and columns of the frame")] = 256,
    moves: Annotated[int, typer.Option(help="random moves of each control")] = 20,
    threads: Annotated[int, typer.Option(help="threads of the computation")] = 2,
) -> None:
    """Print a line for each control and clock, in milliseconds."""
    torch.set_num_threads(threads)
    cohort = plan_cohort(CohortSettings())
    typer.echo(f"{size} px, {threads} threads, median of {moves} moves, ms: {', '.join(STAGES)} (drawn as PNG)")
    for name in MOVES:
        for kind, clock in (("wall", time.perf_counter), ("processor", time.process_time)):
            row = moved(cohort, Choice(size=size), name, moves, clock)
            typer.echo(f"{name:17}{kind:10}" + " ".join(f"{1000 * value:7.0f}" for value in row))


if __name__ == "__main__":
    typer.run(main)
