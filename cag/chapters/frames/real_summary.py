"""What the selector found in runs that no simulator made, beside what was read by eye, in numbers and sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cag.chapters.frames.real_runs import FOLDER, VARIABLE, RealRun, real_frames
from cag.metrics.frame_selection import ACCEPTED_FRAMES
from cag.networks.frame_selector import interval_from_probabilities

COLUMNS = [
    *("run", "n_frames", "fps", "read", "found", "sequence_found", "still", "begin_off", "end_off"),
    *("candidates", "candidates_filled", "candidates_complete", "agrees"),
]

NO_REAL_RUNS = (
    f"No real run was read for this page: {VARIABLE} is not set, or its folder holds no runs in {FOLDER}. "
    "The figure and the table below are therefore empty."
)


def real_summary(runs: Sequence[RealRun]) -> pd.DataFrame:
    """One row a run: what was read by eye, what the selector and the biLSTM by itself found, and how they agree.

    Returns
    -------
    DataFrame
        ``run, n_frames, fps, read, found, sequence_found, still, begin_off, end_off, candidates,
        candidates_filled, candidates_complete, agrees`` (within 3 frames);
        ``begin_off`` is 0 within the reader's uncertainty, else found minus read in frames.
    """
    return pd.DataFrame([_summary(run) for run in runs], columns=COLUMNS)


def _summary(run: RealRun) -> dict[str, object]:
    frames, finding, reading = real_frames([run]), run.finding, run.reading
    chosen = frames[frames.candidate]
    row: dict[str, object] = {
        "run": run.name,
        "n_frames": len(run.frames),
        "fps": run.fps,
        "found": finding.interval,
        "sequence_found": _sequence_interval(run),
        "still": finding.still,
        "candidates": len(chosen),
    }
    if reading is None:
        return row
    row |= {"read": (reading.begin, reading.end), "candidates_filled": int(chosen.filled.sum())}
    row["candidates_complete"] = int(chosen.complete.sum())
    if finding.interval is None:
        return row | {"agrees": False}
    begin, end = finding.interval
    begin_off = begin - int(np.clip(begin, *reading.begin))
    end_off = end - reading.end
    close = max(abs(begin_off), abs(end_off)) <= ACCEPTED_FRAMES
    return row | {"begin_off": begin_off, "end_off": end_off, "agrees": close}


def _sequence_interval(run: RealRun) -> tuple[int, int] | None:
    """What the biLSTM finds by itself, read as the selector reads intervals: by the longest stretch."""
    curve = run.finding.sequence_probability
    return interval_from_probabilities(curve, run.rule) if len(curve) else None


def real_statement(summary: pd.DataFrame) -> str:
    """What a network trained on simulated runs makes of real ones, one sentence a run and one for all."""
    if summary.empty:
        return NO_REAL_RUNS
    read = summary[summary.read.notna()]
    sentences = [_sentence(row) for _, row in read.iterrows()]
    failed = read[~read.agrees.astype(bool)].run.tolist()
    alone = read[read.still.astype(bool) & (read.sequence_found != read.found)].run.tolist()
    if alone:
        sentences.append(
            f"The biLSTM by itself fails on {_listed(alone)}: it sees what changes, and there nothing does, "
            "so its interval is an accident of noise; the frame classifier decides instead."
        )
    if failed:
        sentences.append(f"The selector as a whole fails on {_listed(failed)}.")
    elif len(read):
        sentences.append(f"The selector agrees with the eye within {ACCEPTED_FRAMES} frames on all that were read.")
    unread = len(summary) - len(read)
    return " ".join([*sentences, f"Nobody read the other {unread}."] if unread else sentences)


def _sentence(row: pd.Series) -> str:
    (first, last), end = row["read"]
    rate = f", {row.fps:.0f} frames a second" if pd.notna(row.fps) else ""
    opening = f"In the {row.run} ({row.n_frames} frames{rate})"
    eye = f"frame {first}" if first == last else f"frames {first} to {last}"
    if row.found is None:
        return f"{opening}, filled by eye from {eye} to {end}, the selector finds nothing."
    inside = f"{row.candidates_filled} of {row.candidates} candidates lie in the filled part"
    begin, found_end = row.found
    return (
        f"{opening} the selector finds frames {begin} to {found_end}; by eye the filled part begins at {eye} "
        f"and ends at {end} (begin {_off(row.begin_off)}, end {_off(row.end_off)}), and {inside}."
    )


def _off(frames: float) -> str:
    if frames == 0:
        return "as read"
    return f"{abs(int(frames))} frames {'early' if frames < 0 else 'late'}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
