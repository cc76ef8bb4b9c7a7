"""What a reading says in words and tables: runs, results, and what its networks were trained on."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.anatomy import NO_STANDARD_VIEW
from cag.chapters.reading.models import ReadingModels
from cag.chapters.reading.reading import StudyReading
from cag.chapters.reading.run import RunReading
from cag.metrics.intervals import bootstrap as resample
from cag.metrics.intervals import interval_text

NOT_A_DEVICE = "This is research software, not a medical device: its output must not be used for anyone's care."
_START = {
    "xa": "pre-trained on other simulated patients (xa)",
    "imagenet": "pre-trained on photographs (ImageNet)",
    "random": "random, so that a frozen network knows nothing of angiograms",
}


def trained_on(models: ReadingModels) -> str:
    """Which cohort and which start the networks come from, in two sentences."""
    stage, settings = models.stage, models.stage.settings
    layers = "only their heads" if settings["trainable"] == "head" else "all layers"
    return (
        f"The networks are those of profile {models.store.root.name}, trained on {stage.cohort} "
        f"({stage.patients} patients, {stage.runs} runs; {layers}, images of {models.image_size} pixels, "
        f"{models.folds} patient folds, seed {settings['seed']}; cag {version('cag')}). "
        f"Their initial weights are {_START[settings['weights']]}."
    )


def limits(models: ReadingModels) -> str:
    """What the training cohort means for a reading of other angiograms."""
    if models.stage.cohort.startswith("simulated"):
        return "They have seen no real patient: on real angiograms probabilities and boxes are a demonstration only."
    return "On angiograms of other hospitals and machines their performance is unknown."


def measured(models: ReadingModels) -> str:
    """Where the operating point comes from and what it achieves on patients the networks have not seen."""
    levels = {"patients": models.operating.patient, "arteries": models.operating.artery}
    parts = [
        f"{own.count} {level}, sensitivity {interval_text(own.sensitivity)}, "
        f"specificity {interval_text(own.specificity)}"
        for level, own in levels.items()
    ]
    return (
        f"{models.operating.origin} On {models.stage.cohort} that no network has seen, each called by a threshold "
        f"in which the patient had no part (95 % intervals): {'; '.join(parts)}."
    )


def decision_rule(reading: StudyReading) -> str:
    """How a patient of this study is called, by which threshold, and why it is not that of other patients."""
    operating = reading.models.operating
    own = {known.patient_id: operating.of(known.fold) for known in reading.known.values() if known is not None}
    if not own:
        return operating.rule
    names = ", ".join(f"{name} is called diseased from {own[name]:.2f} on" for name in sorted(own))
    return (
        f"{operating.score_rule}. {names}, by a threshold in which the patient had no part "
        f"({operating.threshold:.2f} serves patients whom no network knows)."
    )


def known_sentence(reading: StudyReading) -> str:
    """Whether the study's patients belong to the networks' own cohort, and what was done about it."""
    own = [known for known in reading.known.values() if known is not None]
    if not own:
        return "No patient of this study belongs to the networks' own cohort: all folds' classifiers are averaged."
    names = ", ".join(sorted({known.patient_id for known in own}))
    trained = any(known.selector_trained for known in own)
    selector = "was trained on some of them" if trained else "has not seen them either"
    return (
        f"Of the networks' own cohort: {names}. There triage, classifiers, threshold and detector are those of the "
        f"fold that has not seen the patient; the frame selector {selector}."
    )


def statements(reading: StudyReading) -> list[str]:
    """Everything a reader must know beside the numbers."""
    models = reading.models
    return [
        NOT_A_DEVICE,
        f"{trained_on(models)} {limits(models)}",
        f"{decision_rule(reading)} {measured(models)}",
        known_sentence(reading),
    ]


def runs_table(reading: StudyReading) -> pd.DataFrame:
    """The runs that were read, a row each, in words for a page; the patient and the notes where they tell anything."""
    table = pd.DataFrame([_run_row(run) for run in reading.runs])
    idle = [name for name, told in (("Patient", table.Patient.nunique() > 1), ("Note", table.Note.any())) if not told]
    return table.drop(columns=idle)


def refused_table(reading: StudyReading, *, file_names: bool = False) -> pd.DataFrame:
    """The files that are no run and why; by pseudonym, or by name where asked for."""
    rows = [(reading.files[file.label] if file_names else file.label, file.reason) for file in reading.refused]
    return pd.DataFrame(rows or [("none", "")], columns=["File", "Reason"])


def numbers(reading: StudyReading) -> dict[str, Any]:
    """What the page's prose says of the study and its networks, by glue key."""
    models = reading.models
    return {
        "n_runs_read": len(reading.runs),
        "n_runs_refused": len(reading.refused),
        "study_patient_score": float(reading.patients.score.max()),
        "reading_warning": NOT_A_DEVICE,
        "reading_trained_on": f"{trained_on(models)} {limits(models)}",
        "reading_known": known_sentence(reading),
        "reading_rule": decision_rule(reading),
        "reading_measured": measured(models),
    }


def triage_estimates(triage: pd.DataFrame, *, bootstrap: int, seed: int) -> dict[str, Any]:
    """Share of runs whose artery the triage names rightly, by the classifiers that have not seen the patient.

    Parameters
    ----------
    triage : the published table ``artery_triage``
    """
    people, values = triage.patient_id.to_numpy(), {}
    for name, column in {"triage_accuracy": "p_right", "triage_accuracy_images": "p_right_images"}.items():
        right = ((triage[column] >= 0.5) == (triage.artery == "RCA")).to_numpy(dtype=float)
        rng = np.random.default_rng(seed)
        values[name] = resample(partial(_share, right), people, n=bootstrap, rng=rng)
    return {**values, "triage_runs": len(triage)}


def _share(right: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    return weights @ right / weights.sum(1)


def arteries_table(reading: StudyReading) -> pd.DataFrame:
    """The result of each patient and artery, then of the patient, in words for a page."""
    arteries, patients = reading.arteries.assign(missing=""), reading.patients.assign(artery="patient")
    table = pd.concat([arteries, patients], ignore_index=True)
    table = table.sort_values("patient_id", kind="stable", ignore_index=True)
    return pd.DataFrame(
        {
            "Patient": table.patient_id,
            "Level": table.artery,
            "Result": [_call(row) for row in table.itertuples()],  # early: a narrow page shows the first columns
            "P(≥25 %)": table.score,
            "P(100 %)": table.p_occlusion,
            "Runs": table.n_runs,
            "Images": table.n_images,
        }
    )


def _call(row: object) -> str:
    called, missing = getattr(row, "called", None), getattr(row, "missing", "")
    if pd.isna(called):
        return "not read"
    text = "stenosis of 25 % or more" if called else "below the threshold"
    return f"{text} ({missing} not read)" if missing else text


def _run_row(run: RunReading) -> dict[str, object]:
    interval, scored = run.finding.interval, run.images.get("score")
    angles = [f"{angle:+.0f}" if angle is not None else "?" for angle in (run.primary_angle, run.secondary_angle)]
    certainty = "" if pd.isna(run.p_right) else f" ({max(run.p_right, 1 - run.p_right):.2f})"
    return {
        "Run": f"{run.number} ({run.plane})" if run.plane else run.number,
        "Patient": run.patient_id,
        "Frames": run.n_frames,
        "Frames/s": run.fps,
        "LAO/CRA": "/".join(angles),
        "Artery": f"{run.artery}{certainty}" if run.artery else None,
        "View": None if run.view == NO_STANDARD_VIEW else run.view,
        "Contrast": f"{interval[0]} to {interval[1]}" if interval else None,
        "Images": len(run.images),
        "P(≥25 %)": float(scored.max()) if scored is not None else None,
        "Boxes": int(run.boxes.counts.sum()),
        "Note": " ".join(text for text in (run.reason, *run.notes) if text),
    }
