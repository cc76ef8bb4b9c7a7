"""A folder of DICOM in, a result out: on tubes that fill, with networks trained for seconds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from distributed import Client

from cag.anatomy import VIEWS
from cag.book import report_batch
from cag.book.report import FILES, ReportRequest, write_report
from cag.book.report_batch import STUDIES, write_batch
from cag.chapters import cluster
from cag.chapters.classification.training import ClassificationSettings, run_grid
from cag.chapters.cluster_work import pack
from cag.chapters.frames.selection import run_frame_selection
from cag.chapters.frames.settings import FrameSelectionSettings
from cag.chapters.localization.comparison import localize
from cag.chapters.localization.settings import LocalizationSettings
from cag.chapters.mapped import open_scheduler
from cag.chapters.reading.chain import LINKS, end_to_end
from cag.chapters.reading.models import ReadingModels, load_models
from cag.chapters.reading.reading import ReadingSettings, StudyReading, read_study
from cag.chapters.reading.run import TrunkMaps, probabilities
from cag.chapters.reading.sources import open_networks, study_folder
from cag.chapters.reading.triage import ArteryTriage, angle_class
from cag.chapters.reading.truth import truth_of, truth_sentence, with_truth
from cag.chapters.reading.words import (
    arteries_table,
    decision_rule,
    known_sentence,
    numbers,
    refused_table,
    runs_table,
    triage_estimates,
)
from cag.chapters.stages import load_stage
from cag.chapters.store import RunFolder, Store
from cag.data.cohort import Cohort
from cag.data.dicom_header import _TAGS
from cag.data.dicom_write import derived_uid, write_cine
from cag.data.fingerprint import file_digest
from cag.data.manifest import KEY_FILE
from cag.data.pseudonyms import pseudonym
from cag.data.tables import save_table
from cag.settings import ROOT, InputError, SettingsError

SIZE, LENGTH, BEGIN, END = 96, 20, 6, 15
VIEW_NAMES = ("LCA LAO cranial", "RCA LAO")
PATIENTS = 6
COMMON = {"weights": "random", "backbone": "squeezenet1_1", "seed": 0, "device": "cpu", "image_size": SIZE}


def tube(seed: int, artery: str) -> np.ndarray:
    """A run in which a dark tube, upright for the RCA and lying for the LCA, fills and empties."""
    frames = np.random.default_rng(seed).normal(170, 8, (LENGTH, SIZE, SIZE))
    place = np.s_[BEGIN : END + 1, 15:80, 40:54] if artery == "RCA" else np.s_[BEGIN : END + 1, 40:54, 15:80]
    frames[place] -= 110
    return frames.clip(0, 255).astype(np.uint8)


def write(path: Path, patient: str, run: str, view: str, seed: int) -> None:
    angles = VIEWS[view]
    write_cine(
        path,
        tube(seed, angles.artery),
        fps=15.0,
        primary_angle=angles.primary,
        secondary_angle=angles.secondary,
        patient_id=patient,
        run_id=run,
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    runs, lesions, boxes = [], [], []
    for number in range(PATIENTS):
        patient = f"P{number:04d}"
        for view in VIEW_NAMES:
            artery = VIEWS[view].artery
            run, path = f"{patient}_{artery}", folder / patient / f"{patient}_{artery}.dcm"
            write(path, patient, run, view, 10 * number + len(artery) + (artery == "RCA"))
            runs.append(
                {
                    "run_id": run,
                    "patient_id": patient,
                    "path": path.relative_to(folder).as_posix(),
                    "sha256": file_digest(path),
                    "source": "simulated",
                    **{"n_frames": LENGTH, "rows": SIZE, "columns": SIZE, "fps": 15.0},
                    **{"primary_angle": VIEWS[view].primary, "secondary_angle": VIEWS[view].secondary},
                    **{"artery": artery, "view": view, "contrast_begin": BEGIN, "contrast_end": END},
                    **{"end_censored": False, "fingerprint": "0"},
                }
            )
            percent = 60 if (number % 2) == (artery == "RCA") else 10
            segment = 2 if artery == "RCA" else 13
            lesion = {"segment": segment, "percent_stenosis": percent}
            lesions.append({"patient_id": patient, "artery": artery, **lesion})
            corners = {"x1": 40, "y1": 40, "x2": 60, "y2": 60}
            boxes += [{"run_id": run, "frame": frame, **corners, **lesion} for frame in range(BEGIN, END + 1)]
    people = [{"patient_id": f"P{number:04d}", "low_quality": False} for number in range(PATIENTS)]
    for name, rows in {"data_manifest": runs, "lesions": lesions, "boxes": boxes, "patients": people}.items():
        save_table(pd.DataFrame(rows), folder / f"{name}.csv")
    return Cohort.from_manifest(folder / "data_manifest.csv")


@pytest.fixture(scope="module")
def store(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("results") / "demo")
    selection = {
        "train_patients": 3,
        "members": 2,
        "cnn_epochs": 8,
        "sequence_epochs": 12,
        "sequence_batch": 2,
        "bootstrap": 20,
    }
    run_frame_selection(cohort, FrameSelectionSettings.checked({**COMMON, **selection}), store)
    classification = {"folds": 2, "epochs": 2, "frames_per_run": 3, "redundancy": (True,), "model_views": MODELS}
    run_grid(cohort, ClassificationSettings.checked({**COMMON, **classification}), store)
    localization = {"folds": 2, "epochs": 1, "arms": ("clean",), "augmented_copies": 0, "channels": 8}
    localize(cohort, LocalizationSettings.checked({**COMMON, **localization}), store)
    return store


MODELS = ("LCA LAO cranial", "RCA")


@pytest.fixture(scope="module")
def opened(cohort: Cohort, store: Store) -> tuple[ReadingModels, pd.DataFrame]:
    with pytest.raises(InputError, match="triage"):
        load_models(store.root)
    return open_networks(settings_of(store), cohort, store)


@pytest.fixture(scope="module")
def models(opened: tuple[ReadingModels, pd.DataFrame]) -> ReadingModels:
    return opened[0]


def settings_of(store: Store, **values: object) -> ReadingSettings:
    return ReadingSettings.checked({"weights": "random", "device": "cpu", "models": str(store.root), **values})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's folder: two good runs, a short one, one of no standard view, and what is no run."""
    folder = tmp_path_factory.mktemp("study")
    write(folder / "a" / "left.dcm", "X1", "left", "LCA LAO cranial", 901)
    write(folder / "a" / "deep" / "right.dcm", "X1", "right", "RCA LAO", 902)
    short = {"primary_angle": 40.0, "secondary_angle": 0.0, "patient_id": "X1", "run_id": "short"}
    write_cine(folder / "b" / "short.dcm", tube(903, "RCA")[:5], fps=15.0, **short)
    odd = {"primary_angle": 88.0, "secondary_angle": 0.0, "patient_id": "X1", "run_id": "odd"}
    write_cine(folder / "b" / "odd.dcm", tube(904, "RCA"), fps=15.0, **odd)
    shutil.copy(folder / "a" / "left.dcm", folder / "b" / "twice.dcm")
    (folder / "notes.txt").write_text("no angiogram")
    (folder / "link.dcm").symlink_to(folder / "a" / "left.dcm")
    return folder


@pytest.fixture(scope="module")
def reading(study: Path, models: ReadingModels) -> StudyReading:
    return read_study(study, models, key=b"k" * 32, progress=False)


def test_every_file_is_read_or_refused_with_a_reason(reading: StudyReading) -> None:
    assert len(reading.runs) == 4 and len(reading.refused) == 3
    reasons = {reading.files[file.label]: file.reason for file in reading.refused}
    assert "not a DICOM file" in reasons["notes.txt"]
    assert "link" in reasons["link.dcm"]
    assert "same object" in reasons["b/twice.dcm"]
    assert set(refused_table(reading, file_names=True).File) == set(reasons)
    assert not set(refused_table(reading).File) & set(reasons)


def test_a_run_that_cannot_be_used_stays_listed(reading: StudyReading) -> None:
    by_name = {reading.files[run.file]: run for run in reading.runs}
    short, odd = by_name["b/short.dcm"], by_name["b/odd.dcm"]
    assert short.finding.interval is None and "5 frames" in short.reason and not len(short.images)
    assert odd.finding.interval and "88/0" in odd.reason and "score" not in odd.images and len(odd.frames)
    table = runs_table(reading)
    assert len(table) == 4 and (table.Note != "").sum() == 2
    assert "Patient" not in table, "there is one patient"
    idle = runs_table(replace(reading, runs=[run for run in reading.runs if not run.reason]))
    assert "Note" not in idle
    other = replace(reading.runs[0], patient_id="someone else")
    assert "Patient" in runs_table(replace(reading, runs=[*reading.runs, other]))


def test_filled_runs_are_named_and_scored(reading: StudyReading) -> None:
    by_name = {reading.files[run.file]: run for run in reading.runs}
    for name, artery, view in (("a/left.dcm", "LCA", "LCA LAO cranial"), ("a/deep/right.dcm", "RCA", "RCA LAO")):
        run = by_name[name]
        assert (run.artery, run.view, run.reason) == (artery, view, "")
        assert run.finding.interval is not None
        assert run.images.score.between(0, 1).all() and np.allclose(run.images.filter(like="p3_").sum(axis=1), 1)
        assert run.heatmaps is not None and run.heatmaps.shape == (len(run.images), SIZE, SIZE)
        assert run.boxes.empty or (run.boxes[["x1", "y1"]].ge(0).all(axis=None) and run.boxes.x2.max() <= SIZE)


def test_the_patient_is_the_worse_artery_and_the_artery_the_worst_image(reading: StudyReading) -> None:
    images, arteries, patients = reading.images, reading.arteries, reading.patients
    worst = images.groupby("artery").score.max()
    assert arteries.set_index("artery").score.to_dict() == pytest.approx(worst.to_dict())
    assert patients.score.tolist() == pytest.approx([worst.max()])
    threshold = reading.models.operating.threshold
    assert patients.called.tolist() == [bool(worst.max() >= threshold)]
    assert patients.called.iloc[0] == arteries.called.any() and patients.missing.tolist() == [""]
    assert numbers(reading)["study_patient_score"] == pytest.approx(worst.max())


def test_an_artery_that_was_not_read_is_said(study: Path, models: ReadingModels) -> None:
    reading = read_study(study / "a" / "deep", models, key=b"k" * 32, progress=False)
    assert reading.patients.missing.tolist() == ["LCA"]
    assert reading.arteries.set_index("artery").called.isna().to_dict() == {"LCA": True, "RCA": False}


def test_a_given_artery_is_believed(study: Path, models: ReadingModels) -> None:
    reading = read_study(study / "a" / "deep", models, key=b"k" * 32, artery="LCA", progress=False)
    run = reading.runs[0]
    assert run.artery == "LCA" and np.isnan(run.p_right)
    assert "RCA LAO" in run.reason and reading.patients.called.isna().all()


def test_a_patient_of_the_own_cohort_is_read_by_the_fold_that_has_not_seen_them(
    cohort: Cohort, models: ReadingModels, store: Store
) -> None:
    assert cohort.folder is not None
    table = pd.read_parquet(store.table("classification"))
    fold = int(table[(table.part == "outer") & (table.patient_id == "P0003")].fold.iloc[0])
    key = b"k" * 32
    by_name = models.known({pseudonym(str(derived_uid("run", "P0003", "P0003", "P0003_LCA")), "run", key)}, set(), key)
    assert by_name is not None and (by_name.patient_id, by_name.fold) == ("P0003", fold)
    digest = cohort.manifest.set_index("run_id").sha256["P0003_RCA"]
    assert models.known(set(), {digest}, key) == by_name
    assert models.known({"R0"}, {"0" * 64}, key) is None
    reading = read_study(cohort.folder / "P0003", models, key=key, progress=False)
    (run,) = [run for run in reading.runs if run.artery == "RCA"]
    single = models.classifiers(2, "RCA", fold)
    assert len(single) == 1 and len(models.classifiers(2, "RCA", None)) == 2
    with torch.no_grad():
        pixels = torch.from_numpy(run.frames)[:, None].float() / 127.5 - 1
        outputs = single[0](pixels).softmax(dim=1).numpy()
    expected = outputs[:, 1] / outputs[:, :2].sum(axis=1)
    assert run.images.score.to_numpy() == pytest.approx(expected, abs=0.02)


def test_the_truth_stands_beside_the_calls_of_a_simulated_patient_and_of_nobody_else(
    cohort: Cohort, models: ReadingModels, reading: StudyReading
) -> None:
    assert cohort.folder is not None
    own = read_study(cohort.folder / "P0003", models, key=b"k" * 32, progress=False)
    truth = truth_of(own, cohort)
    assert truth.set_index("level").percent_stenosis.to_dict() == {"LCA": 10, "RCA": 60, "patient": 60}
    table = with_truth(arteries_table(own), truth).set_index("Level")
    assert table["True (%)"].to_dict() == {"LCA": "10.0", "RCA": "60.0", "patient": "60.0"}
    called = pd.array([True, False, pd.NA], dtype="boolean")
    said = truth_sentence(truth.assign(called=called))
    assert "For P0003" in said and "LCA (10.0 %) is a false call" in said and "RCA (60.0 %) is a miss" in said
    assert "the patient (60.0 %) was not read" in said
    for unknown in (truth_of(reading, cohort), truth_of(own, replace(cohort, origin="another"))):
        assert unknown.empty and "True (%)" not in with_truth(arteries_table(own), unknown)
        assert "no truth is at hand" in truth_sentence(unknown)


def test_the_threshold_named_is_the_one_that_calls(
    cohort: Cohort, models: ReadingModels, reading: StudyReading
) -> None:
    assert cohort.folder is not None
    operating = replace(models.operating, threshold=0.79, of_folds={0: 0.77, 1: 0.77})
    own = read_study(cohort.folder / "P0003", replace(models, operating=operating), key=b"k" * 32, progress=False)
    assert "P0003 is called diseased from 0.77 on" in decision_rule(
        own
    ) and "0.79 serves patients whom no network" in decision_rule(own)
    assert "0.7" not in known_sentence(own)
    assert decision_rule(reading) == models.operating.rule


def test_networks_of_the_open_store_leave_their_tables_among_those_read(opened: object, store: Store) -> None:
    assert opened and {"classification", "artery_triage", "frame_selection_runs"} <= set(store.used)


def test_triage_is_scored_on_patients_it_has_not_seen(
    opened: tuple[ReadingModels, pd.DataFrame], cohort: Cohort
) -> None:
    triage = opened[1]
    assert len(triage) == len(cohort.manifest) and triage.groupby("patient_id").fold.nunique().eq(1).all()
    accuracy = triage_estimates(triage, bootstrap=50, seed=0)["triage_accuracy"]
    assert accuracy.value == 1.0, "an upright tube is told from a lying one"


def test_angles_outvote_a_doubtful_image_and_not_a_clear_one() -> None:
    odds = torch.tensor([[-2.5, 2.5, 0.0, 0.0]])
    triage = ArteryTriage(torch.tensor([[1.0]]), torch.zeros(1), odds)
    assert [angle_class(40, 0), angle_class(40, -28), angle_class(90, 0), angle_class(None, 0)] == [1, 0, 3, 3]
    assert angle_class(22, 27) == 2
    doubtful, clear = torch.tensor([[0.5], [1.0]]), torch.tensor([[4.0]])
    assert triage.right(doubtful) > 0.5 > triage.right(doubtful, angle_class(40, -28))
    assert triage.right(clear, angle_class(40, -28)) > 0.5


def test_reading_gives_what_training_stored(cohort: Cohort, models: ReadingModels, store: Store) -> None:
    stored = pd.read_parquet(store.table("classification"))
    stored = stored.query("n_categories == 2 and arm == 'clean' and part == 'outer' and model_view == 'RCA'")
    run_id, fold = stored.run_id.iloc[0], int(stored.fold.iloc[0])
    own = stored[(stored.run_id == run_id) & ~stored.redundant]
    maps = TrunkMaps(cohort.frames(run_id, own.frame.tolist()), "cpu")
    mine, redundant = probabilities(models.classifiers(2, "RCA", fold), maps, SIZE)
    assert mine[:, 1] == pytest.approx((own.p_1 / (own.p_0 + own.p_1)).to_numpy(), abs=0.03)
    assert redundant == pytest.approx(own.p_redundant.to_numpy(), abs=0.03)


def test_the_chain_compares_links_on_the_same_patients(cohort: Cohort, models: ReadingModels, store: Store) -> None:
    found = end_to_end(cohort, models, settings_of(store))
    assert set(found.found_links) == set(LINKS)
    patients = {links: set(own.patient_id) for links, own in found.groupby("found_links")}
    tested = set(pd.read_parquet(store.table("frame_selection_runs")).patient_id)
    assert all(people == tested for people in patients.values())
    assert found.groupby(["found_links", "run_id"]).size().max() <= 2
    assert end_to_end(cohort, models, settings_of(store, chain_frames=0)).empty


def test_the_default_study_is_a_patient_the_frame_selector_has_not_seen(cohort: Cohort, store: Store) -> None:
    tested = pd.read_parquet(store.table("frame_selection_runs")).patient_id
    assert study_folder(settings_of(store), cohort, store).name == tested.min()


def test_missing_networks_and_other_weights_are_refused_by_name(cohort: Cohort, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="results folder"):
        load_models(tmp_path / "nothing")
    with pytest.raises(InputError, match="notebook 03"):
        load_stage(Store(tmp_path), "classification")
    with pytest.raises(SettingsError, match="'random'"):
        open_networks(settings_of(store, weights="imagenet"), cohort, store)


def test_a_folder_without_an_angiogram_is_refused(models: ReadingModels, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no file"):
        read_study(tmp_path, models, key=b"k" * 32, progress=False)
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no angiogram"):
        read_study(tmp_path, models, key=b"k" * 32, progress=False)
    with pytest.raises(InputError, match="neither a folder nor an archive"):
        read_study(tmp_path / "x.dcm", models, key=b"k" * 32, progress=False)


PLANTED = "Zyxwvut"
TEXT_KINDS = dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "AE", "UC", "UR"), PLANTED)
TEXT_KINDS |= {
    "CS": PLANTED.upper(),
    "PN": f"{PLANTED}^Ann",
    "DA": "19470312",
    "DT": "19470312",
    "TM": "194703",
    "AS": "947Y",
}
TEXT_KINDS |= {"UI": "1.2.840.99947.3.12", "IS": "99947312", "DS": "99947312"}
PLANTED_TEXTS = (PLANTED, PLANTED.upper(), "19470312", "194703", "947Y", "1.2.840.99947.3.12", "99947312")


def planted(kept: set[str]) -> pydicom.Dataset:
    """A dataset with an identifier in every tag of the dictionary whose value is text, a date, a number as text."""
    dataset = pydicom.Dataset()
    for keyword in pydicom.datadict.keyword_dict:
        tag, kind = pydicom.datadict.tag_for_keyword(keyword), pydicom.datadict.dictionary_VR(keyword)
        if kind in TEXT_KINDS and keyword not in kept and tag is not None and tag >> 16 > 2:
            dataset.add_new(tag, kind, TEXT_KINDS[kind])
    return dataset


def plant(path: Path) -> int:
    """Put an identifier into every text-valued tag that does not steer the decoding; returns how many.

    Also into items of sequences, a private block, and the file's meta information.
    """
    dataset = pydicom.dcmread(path)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    steering = {"SpecificCharacterSet", *_TAGS} - {"PatientID", "StudyInstanceUID", "SeriesInstanceUID"}
    own = planted(steering)
    dataset.update(own)
    nested = planted({"SpecificCharacterSet"})
    dataset.OtherPatientIDsSequence = dataset.RequestAttributesSequence = [nested]
    group = pydicom.Dataset()
    group.FrameAnatomySequence = [nested]
    dataset.SharedFunctionalGroupsSequence = [group]
    block = dataset.private_block(0x0029, PLANTED, create=True)
    block.add_new(0x10, "LO", PLANTED)
    block.add_new(0x11, "UN", PLANTED.encode())
    dataset.file_meta.SourceApplicationEntityTitle = PLANTED
    dataset.file_meta.ImplementationVersionName = PLANTED
    dataset.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", PLANTED.upper().ljust(10).encode()))
    return len(own)


@pytest.fixture(scope="module")
def planted_study(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs, an archive and a broken file that hold identifiers wherever a file can, their names included."""
    folder = tmp_path_factory.mktemp("planted") / f"{PLANTED}_study"
    folder.mkdir()
    for name in ("left", "deep/right"):
        path = folder / f"{PLANTED}_{Path(name).name}.dcm"
        shutil.copy(study / "a" / f"{name}.dcm", path)
        assert plant(path) > 2000, "nearly every text-valued tag of the dictionary"
    (folder / "1.2.840.99947.3.12.dcm").write_bytes(b"DICM" + PLANTED.encode())
    with zipfile.ZipFile(folder / f"{PLANTED}.zip", "w") as archive:
        archive.write(folder / f"{PLANTED}_left.dcm", f"{PLANTED}/again.dcm")
        archive.writestr(f"../{PLANTED}.dcm", PLANTED)
    return folder


def test_identifiers_reach_nothing_that_is_written_or_said(
    planted_study: Path,
    store: Store,
    models: ReadingModels,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    out = tmp_path / "report"
    page = write_report(ReportRequest(planted_study, store.root, out, device="cpu"))
    assert page.name == "report.html"
    shared = [path for path in out.iterdir() if path.name not in (FILES, ".pseudonym_key")]
    assert {path.name for path in shared} == {"report.html", "report.json", "predictions.parquet"}
    texts = [path.read_bytes() for path in shared]
    texts.append(pd.read_parquet(out / "predictions.parquet").to_csv().encode())
    texts += said_of_broken_copies(planted_study, models)
    texts += ["".join(capsys.readouterr()).encode(), caplog.text.encode()]
    for text in PLANTED_TEXTS:
        assert not any(text.encode() in said for said in texts), text
    assert PLANTED in (out / FILES).read_text(), "the owner can tell which file is which"
    numbers = json.loads((out / "report.json").read_text())
    assert numbers["patients"][0]["score"] is not None and len(numbers["refused"]) == 3


def test_identifiers_reach_no_output_of_the_notebook(
    planted_study: Path, cohort: Cohort, store: Store, tmp_path: Path
) -> None:
    assert cohort.folder is not None
    parameters = {"profile": store.root, "manifest": cohort.folder / "data_manifest.csv", "study": planted_study}
    parameters |= {"weights": "random", "device": "cpu", "bootstrap": 20}
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / "07_reading_a_study.ipynb"), "out.ipynb"]
    for name, value in parameters.items():
        command += ["-p", name, str(value)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    notebook = json.loads((tmp_path / "out.ipynb").read_text())
    outputs = json.dumps([cell.get("outputs") for cell in notebook["cells"]])
    texts = [outputs, *(path.read_text() for path in (store.root / "tables").iterdir())]
    said = done.stdout.decode() + done.stderr.decode()
    named = str(planted_study)
    for text in PLANTED_TEXTS:
        assert not any(text in one for one in texts), text
        assert text not in said.replace(named, ""), "papermill itself names the parameter"


def said_of_broken_copies(folder: Path, models: ReadingModels) -> list[bytes]:
    """Sentences of refusals of the same files, cut short and with values that no reader expects."""
    said = []
    edits: Sequence[Callable[[bytes], bytes]] = (lambda raw: raw[:1500], lambda raw: raw[:-5000], lambda raw: raw[300:])
    for edit in edits:
        broken = folder.parent / "broken"
        broken.mkdir(exist_ok=True)
        source = min(folder.glob(f"{PLANTED}*.dcm"))
        (broken / "file.dcm").write_bytes(edit(source.read_bytes()))
        with pytest.raises(InputError) as error:
            read_study(broken, models, key=b"k" * 32, progress=False)
        said.append(str(error.value).encode())
    return said


def test_a_report_inside_the_study_is_refused(study: Path, store: Store, models: ReadingModels) -> None:
    assert models.folds == 2
    with pytest.raises(InputError, match="inside the study"):
        write_report(ReportRequest(study, store.root, study / "out", progress=False))


def test_a_batch_reads_each_study_once_and_says_which_it_could_not(
    study: Path, store: Store, models: ReadingModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models.folds == 2
    many, out = tmp_path / "many", tmp_path / "out"
    for name in ("Doe_1", "Doe_2"):
        shutil.copytree(study / "a", many / name)
    (many / "Doe_3").mkdir()
    (many / "Doe_3" / "letter.txt").write_text("no angiogram")
    (many / "Doe_4").symlink_to(study)
    request = ReportRequest(many, store.root, out, device="cpu", progress=False)
    page = write_batch(request)
    table = pd.read_csv(out / "studies.csv")
    assert len(table) == 3 and table.Report.notna().sum() == 2
    assert all((out / report).is_file() and report in page.read_text() for report in table.Report.dropna())
    assert "no angiogram among them" in table.Result[table.Report.isna()].item()
    assert pd.read_parquet(out / "predictions.parquet").study.nunique() == 2
    for path in (page, out / "studies.csv"):
        assert "Doe" not in path.read_text()
    assert sorted(pd.read_csv(out / STUDIES).study) == ["Doe_1", "Doe_2", "Doe_3"]
    read = []

    def counted(place: Path, *arguments: object, **options: object) -> StudyReading:
        read.append(place.name)
        return read_study(place, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(report_batch, "read_study", counted)
    write_batch(request)
    assert read == [], "finished studies are found again"
    shutil.copy(study / "b" / "odd.dcm", many / "Doe_2")
    write_batch(request)
    assert read == ["Doe_2"], "a study that changed is read again"


def killed_at_work(store: Path, pid: int) -> subprocess.Popen[bytes]:
    """A process that kills another in the middle of the first study it reads."""
    script = f"until ls {store}/.working/studies-*.lock >/dev/null 2>&1; do sleep 0.1; done; kill -9 {pid}"
    return subprocess.Popen(["sh", "-c", script])


@pytest.mark.filterwarnings("ignore")  # Dask warns of what happens here on purpose
def test_a_batch_on_a_cluster_gives_the_same_whatever_dies(
    study: Path, store: Store, models: ReadingModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models.folds == 2
    monkeypatch.setattr(cluster, "PATIENCE", 3.0)
    many = tmp_path / "many"
    for name in ("Doe_1", "Doe_2"):
        shutil.copytree(study / "a", many / name)
    (many / "Doe_3").mkdir()
    (many / "Doe_3" / "letter.txt").write_text("no angiogram")
    key = tmp_path / "here" / KEY_FILE
    write_batch(ReportRequest(many, store.root, tmp_path / "here", device="cpu", progress=False))
    request = ReportRequest(many, store.root, tmp_path / "there", device="cpu", progress=False)
    request.make_folder()
    shutil.copy(key, request.out)
    script = (
        "import sys; from cag.chapters.mapped import open_scheduler\n"
        "with open_scheduler('local:1') as a: print(a, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        killer = killed_at_work(request.out, process.pid)
        with pytest.raises(
            InputError, match=r"the Dask scheduler is gone: [0-2] of 3 open tasks.*finished work is kept"
        ):
            write_batch(request, scheduler=address)
        assert killer.wait(timeout=5) == 0
    with pytest.raises(InputError, match="no Dask scheduler answers there"):
        write_batch(request, scheduler=address)
    shutil.rmtree(request.out / "studies", ignore_errors=True)
    with open_scheduler("local:1") as address, Client(address, set_as_default=False) as client:
        (worker,) = client.run(os.getpid).values()
        killer = killed_at_work(request.out, worker)
        write_batch(request, scheduler=address)
        assert killer.wait(timeout=5) == 0 and worker not in client.run(os.getpid).values()
    for name in ("studies.csv", "index.html"):
        assert (request.out / name).read_text() == (tmp_path / "here" / name).read_text()
    tables = [pd.read_parquet(folder / "predictions.parquet") for folder in (tmp_path / "here", request.out)]
    pd.testing.assert_frame_equal(*tables)
    for report in (request.out / "studies").glob("*/report.*"):
        assert without_last_bits(report) == without_last_bits(tmp_path / "here" / report.relative_to(request.out))


def without_last_bits(report: Path) -> str:
    """A report without pictures and late decimals, which may differ with the number of threads of a process."""
    return re.sub(r"(\d\.\d{3})\d+", r"\1", re.sub(r"base64,[^\"']+", "base64,", report.read_text()))


def test_what_a_machine_does_not_see_is_no_property_of_the_study(
    study: Path, store: Store, models: ReadingModels, tmp_path: Path
) -> None:
    assert models.folds == 2
    many = tmp_path / "many"
    shutil.copytree(study / "a", many / "Doe_1")
    request = ReportRequest(many, store.root, tmp_path / "out", device="cpu", progress=False)
    gone = replace(request, source=many / "Doe_9")
    settings = report_batch.StudySettings(study="S1", content="0")
    with pytest.raises(InputError, match="S1: a study is not there") as error:
        report_batch._read(Cohort.__new__(Cohort), settings, RunFolder(tmp_path), request=gone, networks="")
    assert "Doe" not in str(error.value) and not (tmp_path / "refused.json").exists()
    (task,) = [report_batch._task("S1", many / "Doe_1", request, "")]
    assert "Doe" not in repr(pack(task, RunFolder(tmp_path / "k" / "f"), Cohort.__new__(Cohort)))


def test_networks_that_changed_read_again(store: Store, models: ReadingModels, tmp_path: Path) -> None:
    assert models.folds == 2
    shutil.copytree(store.root / "models", tmp_path / "models")
    for table in store.root.glob("*.parquet"):
        shutil.copy(table, tmp_path)
    before = report_batch._networks_as_cohort(tmp_path).digest()
    assert before == report_batch._networks_as_cohort(store.root).digest()
    RunFolder(tmp_path / "models" / "frame_selector").save_weights("head", {"weight": torch.zeros(1)})
    assert report_batch._networks_as_cohort(tmp_path).digest() != before


def test_a_batch_without_studies_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    with pytest.raises(InputError, match="holds no study"):
        write_batch(ReportRequest(tmp_path / "many", store.root, tmp_path / "out"))
