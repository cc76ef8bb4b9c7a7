"""What the chain loses, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cag.book.figures.chain_tables import chain_note, chain_table, stage_losses
from cag.chapters.reading.chain import LINKS
from cag.chapters.reading.reading import ReadingSettings

PERCENT = {"A": 60.0, "B": 10.0, "C": 90.0, "D": 0.0}


def scores(links: str, values: dict[str, float]) -> pd.DataFrame:
    table = pd.DataFrame({"patient_id": list(values), "score": list(values.values())}).assign(found_links=links)
    return table.assign(percent_stenosis=table.patient_id.map(PERCENT))


def found() -> pd.DataFrame:
    perfect = {"A": 0.9, "B": 0.2, "C": 0.8, "D": 0.1}
    return pd.concat(
        [
            scores("none", perfect),
            scores("none", {name: value / 2 for name, value in perfect.items()}),
            scores("frames", {**perfect, "A": 0.15}),
            scores("frames and views", {**perfect, "C": np.nan}),
        ],
        ignore_index=True,
    )


def test_a_patient_counts_by_the_highest_image_and_as_healthy_without_one() -> None:
    table = chain_table(found(), bootstrap=50, seed=0)
    assert table.Links.tolist() == list(LINKS.values()) and table.Patients.tolist() == [4, 4, 4]
    # A falls below B: three of four pairs are in order; C without an image falls below both: two of four.
    assert [text.split()[0] for text in table.AUC] == ["1.00", "0.75", "0.50"]
    assert [text.split()[0] for text in table.Difference] == ["–", "-0.25", "-0.50"]


def test_each_step_loses_what_it_adds_to_the_one_before() -> None:
    losses = stage_losses(found(), bootstrap=50, seed=0)
    assert losses.Step.tolist() == ["classification", "frame selection", "artery and view", "whole chain"]
    assert [text.split()[0] for text in losses["AUC lost"]] == ["0.00", "0.25", "0.25", "0.50"]
    assert all("(" in text for text in losses["AUC lost"]), "with intervals"
    assert set(stage_losses(found().iloc[:0], bootstrap=10, seed=0)["AUC lost"]) == {"not computed"}


def test_a_comparison_left_out_is_said() -> None:
    nothing = found().iloc[:0]
    assert set(chain_table(nothing, bootstrap=10, seed=0).AUC) == {"not computed"}
    assert "left out" in chain_note(nothing, ReadingSettings(chain_frames=0))
    assert chain_note(found(), ReadingSettings()).startswith("4 patients")
