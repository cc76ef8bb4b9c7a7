"""What a reading says in words and tables: runs, results, and what its networks are worth."""

from __future__ import annotations

import pandas as pd

from cag.anatomy import NO_STANDARD_VIEW
from cag.chapters.reading.models import ReadingModels
from cag.chapters.reading.study import RunReading, StudyReading

NOT_A_DEVICE = "This is research software, not a medical device: its output must not be used for anyone's care."
_START = {
    "xa": "pre-trained on other simulated patients (xa)",
    "xa-labels": "pre-trained on other simulated patients, by labels alone (xa-labels)",
    "imagenet": "pre-trained on photographs (ImageNet)",
    "random": "random, so that a frozen network knows nothing of angiograms",
}


def no_better_than_chance(models: ReadingModels) -> str:
    """Why these networks call nobody; empty where their calls are better than chance."""
    if models.operating.patient.better_than_chance:
        return ""
    return (
        "These networks are no better than chance: on patients that no network has seen, sensitivity plus specificity "
        f"minus one is {models.operating.patient.youden}, and that interval is not above 0. So nobody is called here."
    )


def trained_on(models: ReadingModels) -> str:
    """Which cohort and which start the networks come from, and what that means for other angiograms."""
    part, own = models.parts["classification"], models.parts["classification"].settings
    limits = "On angiograms of other hospitals and machines their performance is unknown."
    if part.cohort.startswith("simulated"):
        limits = "They have seen no real patient: on real angiograms probabilities and boxes are a demonstration only."
    return (
        f"The networks are those of profile {part.profile}, trained on {part.cohort} ({part.patients} patients, "
        f"{part.runs} runs; {'only their heads' if own['trainable'] == 'head' else 'all layers'}, images of "
        f"{models.image_size} pixels, {own['folds']} patient folds, seed {own['seed']}; cag {part.version}). "
        f"Their initial weights are {_START[own['weights']]}. {limits}"
    )


def measured(models: ReadingModels) -> str:
    """Where the operating point comes from and what it achieves on patients the networks have not seen."""
    worth = {"patients": models.operating.patient, "arteries": models.operating.artery}.items()
    rates = [f"{own.count} {who}, sensitivity {own.sensitivity}, specificity {own.specificity}" for who, own in worth]
    origin = models.operating.origin
    return (
        f"Thresholds are {origin[0].lower()}{origin[1:]} On {models.parts['classification'].cohort} that no network "
        f"has seen, each called by a threshold chosen without this patient (95 % intervals): {'; '.join(rates)}."
    )


def decision_rule(reading: StudyReading) -> str:
    """How a patient of this study is called, and by which threshold; empty where nobody is called."""
    operating = reading.models.operating
    if not operating.patient.better_than_chance:
        return ""
    own = sorted({(known.patient_id, operating.of(known.fold)) for known in reading.known.values() if known})
    if not own:
        return operating.rule
    cuts = " ".join(f"The threshold for {name} is {cut:.2f}. It was chosen without this patient." for name, cut in own)
    rule = f"{operating.score_rule}. From a threshold on, it is called diseased."
    return f"{rule} {cuts} For new patients it is {operating.threshold:.2f}."


def known_sentence(reading: StudyReading) -> str:
    """Whether the study's patients belong to the networks' own cohort, and what was done about it."""
    own = [known for known in reading.known.values() if known]
    if not own:
        return "No patient of this study belongs to the networks' own cohort: all folds' classifiers are averaged."
    seen = "was trained on some of them" if any(known.selector_trained for known in own) else "has not seen them either"
    return (
        f"Of the networks' own cohort: {', '.join(sorted({known.patient_id for known in own}))}. There triage, "
        "classifiers, threshold and detector are those of the fold that has not seen the patient; "
        f"the frame selector {seen}."
    )


def statements(reading: StudyReading) -> list[str]:
    """Everything a reader must know beside the numbers, the most important first."""
    models = reading.models
    rule = f"{decision_rule(reading)} {measured(models)}".strip()
    said = [NOT_A_DEVICE, no_better_than_chance(models), trained_on(models), rule, known_sentence(reading)]
    return [text for text in said if text]


def runs_table(reading: StudyReading) -> pd.DataFrame:
    """The runs, a row each; the patient and the notes where they tell anything."""
    table = pd.DataFrame([_run_row(run) for run in reading.runs])
    idle = [name for name, told in (("Patient", table.Patient.nunique() > 1), ("Note", table.Note.any())) if not told]
    return table.drop(columns=idle)


def refused_table(reading: StudyReading) -> pd.DataFrame:
    """The files that are no run, by pseudonym, and why."""
    rows = [(file.label, file.reason) for file in reading.refused] or [("none", "")]
    return pd.DataFrame(rows, columns=["File", "Reason"])


def results_table(reading: StudyReading) -> pd.DataFrame:
    """The result of each patient and artery, then of the patient."""
    table = pd.concat([reading.arteries, reading.patients.assign(artery="patient")], ignore_index=True)
    table = table.sort_values("patient_id", kind="stable", ignore_index=True).fillna({"missing": ""})
    shown = table[["patient_id", "artery"]].set_axis(["Patient", "Level"], axis=1)
    shown["Result"] = [result_text(*row) for row in zip(table.score, table.called, table.missing, strict=True)]
    shown[["P(≥25 %)", "P(100 %)"]] = table[["score", "p_occlusion"]]
    shown[["Runs", "Images"]] = table[["n_runs", "n_images"]]
    return shown


def result_text(score: float | None, called: bool | None, missing: str) -> str:
    """What a result says: disease or not, not read, or not called."""
    if pd.isna(score):
        return "not read"
    text = "no call" if pd.isna(called) else "stenosis of 25 % or more" if called else "below the threshold"
    return f"{text} ({missing} not read)" if missing else text


def _run_row(run: RunReading) -> dict[str, object]:
    cine, interval, scored = run.cine, run.finding.interval, run.images.get("score")
    angles = [f"{angle:+.0f}" if angle is not None else "?" for angle in (cine.primary_angle, cine.secondary_angle)]
    certainty = "" if pd.isna(run.p_right) else f" ({max(run.p_right, 1 - run.p_right):.2f})"
    return {
        "Run": f"{run.number} ({cine.plane})" if cine.plane else run.number,
        **{"Patient": cine.patient_id, "Frames": cine.n_frames, "Frames/s": cine.fps, "LAO/CRA": "/".join(angles)},
        "Artery": f"{run.artery}{certainty}" if run.artery else None,
        "View": None if run.view == NO_STANDARD_VIEW else run.view,
        "Contrast": f"{interval[0]} to {interval[1]}" if interval else None,
        "Images": len(run.images),
        "P(≥25 %)": float(scored.max()) if scored is not None else None,
        "Boxes": int(run.boxes.counts.sum()),
        "Note": " ".join(text for text in (run.reason, *run.notes) if text),
    }
