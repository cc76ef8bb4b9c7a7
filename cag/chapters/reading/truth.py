"""What is true of a reading's patients, where they are simulated and belong to the networks' own cohort."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cag.anatomy import TWO_CATEGORIES
from cag.chapters.reading.reading import StudyReading
from cag.data.cohort import Cohort
from cag.data.severity import artery_severity

#: Whether an artery or patient is diseased, and whether it is called so, in words.
OUTCOMES = {
    (True, True): "a hit (diseased and called so)",
    (True, False): "a miss (diseased and not called so)",
    (False, True): "a false call (not diseased and called so)",
    (False, False): "rightly not called diseased",
}


def truth_of(reading: StudyReading, cohort: Cohort) -> pd.DataFrame:
    """The largest stenosis of each artery and patient of a reading beside its call.

    Returns
    -------
    DataFrame
        ``patient_id`` (pseudonym), ``name`` (the cohort's), ``level`` (LCA, RCA or patient), ``percent_stenosis``
        (0-100), ``diseased``, ``called`` (missing where it was not read). No row of a patient whose truth is not
        known: who is not of the cohort that the networks were trained on, or is not simulated.
    """
    columns = ["patient_id", "name", "level", "percent_stenosis", "diseased", "called"]
    names = {patient: own.patient_id for patient, own in reading.known.items() if own is not None}
    simulated = cohort.manifest["source"].eq("simulated").all()
    if not names or not simulated or cohort.digest() != reading.models.stage.cohort_digest:
        return pd.DataFrame(columns=columns)
    arteries = artery_severity(cohort).rename(columns={"artery": "level"})
    patients = arteries.groupby("patient_id", as_index=False).percent_stenosis.max().assign(level="patient")
    truth = pd.concat([arteries, patients]).rename(columns={"patient_id": "name"})
    read = pd.concat([reading.arteries.rename(columns={"artery": "level"}), reading.patients.assign(level="patient")])
    read = read.assign(name=read.patient_id.map(names))[["patient_id", "name", "level", "called"]]
    table = read.merge(truth, on=["name", "level"]).sort_values("name", kind="stable", ignore_index=True)
    return table.assign(diseased=table.percent_stenosis >= TWO_CATEGORIES[0])[columns]


def with_truth(table: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """The results' table (``reading_words.arteries_table``) with a column ``True (%)``, where any truth is known."""
    if truth.empty:
        return table
    known = truth.set_index(["patient_id", "level"]).percent_stenosis.map("{:.1f}".format)
    rows = pd.MultiIndex.from_frame(table[["Patient", "Level"]])
    wide = table.copy()
    wide.insert(list(wide).index("Level") + 1, "True (%)", known.reindex(rows).to_numpy())
    return wide


def truth_sentence(truth: pd.DataFrame) -> str:
    """Hits and misses of a reading in words."""
    if truth.empty:
        return "Whether these calls are right is not known here: no truth is at hand for this study."
    rule = f"the simulator's truth (a largest stenosis of {TWO_CATEGORIES[0]:g} % or more is disease)"
    patients = truth.groupby("name", sort=False)
    return " ".join(
        f"For {name}, by {rule}: {'; '.join(_level(row) for row in own.itertuples())}." for name, own in patients
    )


def _level(row: Any) -> str:
    who = f"{'the patient' if row.level == 'patient' else row.level} ({row.percent_stenosis:.1f} %)"
    return (
        f"{who} was not read" if pd.isna(row.called) else f"{who} is {OUTCOMES[bool(row.diseased), bool(row.called)]}"
    )
