"""A folder of DICOM in, a result out: on tubes that fill, with networks trained for seconds."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from notebook_cells import page_of, run_cells

from cag.anatomy import VIEWS
from cag.book import report as report_module
from cag.book.report import FILES, STUDIES, ReportRequest, write_batch, write_report
from cag.chapters.bundle import load_part
from cag.chapters.classification.operating import export_classifiers
from cag.chapters.classification.scores import reference_standard
from cag.chapters.classification.training import ClassificationSettings, run_grid
from cag.chapters.frames.selection import run_frame_selection
from cag.chapters.frames.settings import FrameSelectionSettings
from cag.chapters.localization.comparison import export_detectors, localize
from cag.chapters.localization.settings import LocalizationSettings
from cag.chapters.reading.models import ArteryTriage, ReadingModels, angle_class, load_models
from cag.chapters.reading.study import ReadingSettings, probabilities, read_study, trunk_maps
from cag.chapters.reading.words import decision_rule, known_sentence, refused_table
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.data.dicom_header import _TAGS
from cag.data.dicom_write import derived_uid, write_cine
from cag.data.fingerprint import file_digest
from cag.data.pseudonyms import pseudonym
from cag.data.tables import save_table
from cag.settings import ROOT, InputError

KEY = b"k" * 32
LINKS = ("none", "frames", "frames and views")
MODELS = ("LCA LAO cranial", "RCA")
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
    own = VIEWS[view]
    angles = {"primary_angle": own.primary, "secondary_angle": own.secondary}
    write_cine(path, tube(seed, own.artery), fps=15.0, **angles, patient_id=patient, run_id=run)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    runs, lesions, boxes = [], [], []
    every = {"source": "simulated", "n_frames": LENGTH, "rows": SIZE, "columns": SIZE, "fps": 15.0, "fingerprint": "0"}
    every |= {"contrast_begin": BEGIN, "contrast_end": END, "end_censored": False}
    for number, view in product(range(PATIENTS), VIEW_NAMES):
        own, patient = VIEWS[view], f"P{number:04d}"
        run, right = f"{patient}_{own.artery}", own.artery == "RCA"
        path = folder / patient / f"{run}.dcm"
        write(path, patient, run, view, 10 * number + 3 + right)
        row = {"run_id": run, "patient_id": patient, "path": f"{patient}/{run}.dcm", "sha256": file_digest(path)}
        row |= {"artery": own.artery, "view": view, "primary_angle": own.primary, "secondary_angle": own.secondary}
        runs.append(row | every)
        lesion = {"segment": 2 if right else 13, "percent_stenosis": 60 if number % 2 == right else 10}
        lesions.append({"patient_id": patient, "artery": own.artery, **lesion})
        corners = {"x1": 40, "y1": 40, "x2": 60, "y2": 60}
        boxes += [{"run_id": run, "frame": frame, **corners, **lesion} for frame in range(BEGIN, END + 1)]
    people = [{"patient_id": f"P{number:04d}", "low_quality": False} for number in range(PATIENTS)]
    for name, rows in {"data_manifest": runs, "lesions": lesions, "boxes": boxes, "patients": people}.items():
        save_table(pd.DataFrame(rows), folder / f"{name}.csv")
    return Cohort.from_manifest(folder / "data_manifest.csv")


@pytest.fixture(scope="module")
def store(cohort, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("results") / "demo", "cpu")
    quick = {"train_patients": 3, "members": 2, "cnn_epochs": 8, "sequence_epochs": 12, "sequence_batch": 2}
    selection = FrameSelectionSettings.checked({**COMMON, **quick, "bootstrap": 20})
    run_frame_selection(cohort, selection, store)
    quick = {"folds": 2, "epochs": 2, "frames_per_run": 3, "redundancy": (True,), "model_views": MODELS}
    classification = ClassificationSettings.checked({**COMMON, **quick})
    predictions = run_grid(cohort, classification, store)
    export_classifiers(cohort, classification, store, predictions, reference_standard(cohort, classification))
    quick = {"folds": 2, "epochs": 1, "arms": ("clean",), "augmented_copies": 0, "channels": 8}
    localization = LocalizationSettings.checked({**COMMON, **quick})
    export_detectors(localize(cohort, localization, store), cohort, localization, store)
    with pytest.raises(InputError, match=r"triage.*notebook 07"):
        load_models(store.root)
    cells = ("reading-05", "reading-05b", "reading-05d")
    page, settings = page_of(cohort=cohort, store=store), ReadingSettings(device="cpu")
    run_cells("07_reading_a_study", *cells, page=page, settings=settings)
    return store


@pytest.fixture(scope="module")
def models(store):
    return load_models(store.root / "bundle", device="cpu")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
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
def reading(study, models):
    return read_study(study, models, key=KEY, progress=False)


def test_every_file_is_read_or_refused_with_a_reason(reading):
    reasons = {reading.files[file.label]: file.reason for file in reading.refused}
    assert len(reading.runs) == 4 and not set(refused_table(reading).File) & set(reasons)
    for name, reason in {"notes.txt": "not a DICOM", "link.dcm": "link", "b/twice.dcm": "same bytes"}.items():
        assert reason in reasons.pop(name)
    assert not reasons


def test_from_a_folder_to_the_patient_few_modules_are_entered(study, models):
    entered: set[str] = set()

    def look(frame, event, _):
        if event == "call" and frame.f_code.co_name != "<module>":
            entered.add(str(frame.f_globals.get("__name__")))

    sys.setprofile(look)
    try:
        patients = read_study(study / "a", models, key=KEY, progress=False).patients
    finally:
        sys.setprofile(None)
    aside = ("cag.settings", "cag.anatomy", "cag.metrics")
    walked = {name for name in entered if name.startswith("cag.") and not name.startswith(aside)}
    assert len(patients) == 1 and len(walked) <= 21, sorted(walked)


def test_filled_runs_are_named_and_scored_and_others_say_why_not(reading):
    by_name = {reading.files[run.file]: run for run in reading.runs}
    short, odd = by_name["b/short.dcm"], by_name["b/odd.dcm"]
    assert short.finding.interval is None and "5 frames" in short.reason and not len(short.images)
    assert odd.finding.interval and "88/0" in odd.reason and "score" not in odd.images and len(odd.frames)
    for name, artery, view in (("a/left.dcm", "LCA", "LCA LAO cranial"), ("a/deep/right.dcm", "RCA", "RCA LAO")):
        run = by_name[name]
        assert (run.artery, run.view, run.reason) == (artery, view, "") and run.finding.interval is not None
        assert run.images.score.between(0, 1).all() and np.allclose(run.images.filter(like="p3_").sum(axis=1), 1)
        assert run.heatmaps is not None and run.heatmaps.shape == (len(run.images), SIZE, SIZE)
        assert run.boxes.empty or (run.boxes[["x1", "y1"]].ge(0).all(axis=None) and run.boxes.x2.max() <= SIZE)


def test_the_patient_is_the_worse_artery_and_the_artery_the_worst_image(reading):
    sure = replace(reading, models=called_by(reading.models))
    worst = sure.images.groupby("artery").score.max()
    assert sure.arteries.set_index("artery").score.to_dict() == pytest.approx(worst.to_dict())
    assert sure.patients.score.tolist() == pytest.approx([worst.max()])
    assert sure.patients.called.tolist() == [bool(worst.max() >= sure.models.operating.threshold)]
    assert sure.patients.called.iloc[0] == sure.arteries.called.any() and sure.patients.missing.tolist() == [""]


def called_by(models: ReadingModels, **changed: object) -> ReadingModels:
    """The same networks with another operating point, better than chance."""
    patient = models.operating.patient
    better = replace(patient, youden=replace(patient.youden, low=0.1))
    return replace(models, operating=replace(models.operating, patient=better, **changed))


def test_an_artery_that_was_not_read_is_said_and_a_given_one_is_believed(study, models):
    sure = called_by(models)
    reading = read_study(study / "a" / "deep", sure, key=KEY, progress=False)
    assert reading.patients.missing.tolist() == ["LCA"]
    assert reading.arteries.set_index("artery").called.isna().to_dict() == {"LCA": True, "RCA": False}
    reading = read_study(study / "a" / "deep", sure, key=KEY, artery="LCA", progress=False)
    run = reading.runs[0]
    assert run.artery == "LCA" and np.isnan(run.p_right)
    assert "RCA LAO" in run.reason and reading.patients.called.isna().all()


def test_an_own_patient_is_read_and_called_by_the_fold_that_has_not_seen_them(cohort, models, store, reading):
    table = pd.read_parquet(store.table("classification"))
    fold = int(table[(table.part == "outer") & (table.patient_id == "P0003")].fold.iloc[0])
    known = models.own_patients(KEY)
    by_name = known[pseudonym(str(derived_uid("run", "P0003", "P0003", "P0003_LCA")), "run", KEY)]
    assert (by_name.patient_id, by_name.fold) == ("P0003", fold)
    assert known[cohort.manifest.set_index("run_id").sha256["P0003_RCA"]] == by_name
    own = read_study(cohort.folder / "P0003", models, key=KEY, progress=False)
    (run,) = [run for run in own.runs if run.artery == "RCA"]
    single = models.networks("RCA LAO", fold).two
    assert len(single) == 1 and len(models.networks("RCA LAO", None).two) == 2
    expected = probabilities(single, trunk_maps(torch.from_numpy(run.frames), "cpu"), SIZE)[0][:, 1]
    assert run.images.score.to_numpy() == pytest.approx(expected, abs=0.02)
    other = called_by(models, threshold=0.79, of_folds={0: 0.77, 1: 0.77})
    own = read_study(cohort.folder / "P0003", other, key=KEY, progress=False)
    said = decision_rule(own)
    assert "The threshold for P0003 is 0.77." in said and "For new patients it is 0.79." in said
    assert "0.7" not in known_sentence(own)
    assert decision_rule(replace(reading, models=other)) == other.operating.rule


def test_triage_is_scored_on_patients_it_has_not_seen_and_angles_outvote_a_doubtful_image_alone(store, cohort):
    triage = pd.read_parquet(store.table("artery_triage"))
    assert len(triage) == len(cohort.manifest) and triage.groupby("patient_id").fold.nunique().eq(1).all()
    assert ((triage.p_right >= 0.5) == (triage.artery == "RCA")).all(), "an upright tube is told from a lying one"
    network = ArteryTriage(torch.tensor([[1.0]]), torch.zeros(1), torch.tensor([[-2.5, 2.5, 0.0, 0.0]]))
    angles = ((40, 0), (40, -28), (90, 0), (None, 0), (22, 27))
    assert [angle_class(*each) for each in angles] == [1, 0, 3, 3, 2]
    doubtful, clear = torch.tensor([[0.5], [1.0]]), torch.tensor([[4.0]])
    assert network.right(doubtful) > 0.5 > network.right(doubtful, angle_class(40, -28))
    assert network.right(clear, angle_class(40, -28)) > 0.5


def test_reading_gives_what_training_stored(cohort, models, store):
    stored = pd.read_parquet(store.table("classification"))
    stored = stored.query("n_categories == 2 and arm == 'clean' and part == 'outer' and model_view == 'RCA'")
    run_id, fold = stored.run_id.iloc[0], int(stored.fold.iloc[0])
    own = stored[(stored.run_id == run_id) & ~stored.redundant]
    maps = trunk_maps(cohort.frames(run_id, own.frame.tolist()), "cpu")
    mine, redundant = probabilities(models.networks("RCA LAO", fold).two, maps, SIZE)
    assert mine[:, 1] == pytest.approx((own.p_1 / (own.p_0 + own.p_1)).to_numpy(), abs=0.03)
    assert redundant == pytest.approx(own.p_redundant.to_numpy(), abs=0.03)


def test_the_default_study_is_a_patient_the_frame_selector_has_not_seen(cohort, store, models, tmp_path):
    def folder(own):
        page, settings = page_of(store=Store(tmp_path)), ReadingSettings()
        names = {"page": page, "settings": settings, "cohort": own, "networks": models}
        return run_cells("07_reading_a_study", "reading-10a", **names)["folder"]

    tested = pd.read_parquet(store.table("frame_selection_runs")).patient_id.min()
    written = folder(cohort)
    assert written == tmp_path / "reading" / tested and len(list(written.glob("*.dcm"))) == len(VIEW_NAMES)
    (own,) = read_study(written, models, key=KEY, progress=False).known.values()
    assert own is not None and own.patient_id == tested and not own.selector_trained
    with pytest.raises(InputError, match="-p study FOLDER"):
        folder(replace(cohort, manifest=cohort.manifest.assign(source="hospital")))


def test_a_folder_without_an_angiogram_and_a_report_inside_the_study_are_refused(models, tmp_path, study, store):
    file, empty = tmp_path / "x.dcm", tmp_path / "empty"
    file.write_bytes(b"nothing")
    empty.mkdir()
    problems = {empty: "holds no file", tmp_path: "no angiogram", file: "neither a folder nor an archive"}
    for place, problem in problems.items():
        with pytest.raises(InputError, match=problem):
            read_study(place, models, key=KEY, progress=False)
    with pytest.raises(InputError, match="inside the study"):
        write_report(ReportRequest(study, store.root, study / "out", progress=False))


PLANTED = "Zyxwvut"
TEXT_KINDS = dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "AE", "UC", "UR"), PLANTED)
TEXT_KINDS |= {"CS": PLANTED.upper(), "PN": f"{PLANTED}^Ann", "UI": "1.2.840.99947.3.12"}
TEXT_KINDS |= {"DA": "19470312", "DT": "19470312", "TM": "194703", "AS": "947Y", "IS": "99947312", "DS": "99947312"}
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
    own = planted({"SpecificCharacterSet", *_TAGS} - {"PatientID", "StudyInstanceUID", "SeriesInstanceUID"})
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
def planted_study(study, tmp_path_factory):
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


def test_identifiers_reach_nothing_that_is_written_or_said(planted_study, store, models, tmp_path, capsys, caplog):
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


def test_identifiers_reach_no_output_of_the_notebook(planted_study, cohort, store, models, tmp_path):
    """The notebook over the same functions, with other settings than those of the parameters cell."""
    assert models.image_size == SIZE
    parameters = {"profile": store.root, "manifest": cohort.folder / "data_manifest.csv", "study": planted_study}
    parameters |= {"device": "cpu", "bootstrap": 20}
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / "07_reading_a_study.ipynb"), "out.ipynb"]
    for name, value in parameters.items():
        command += ["-p", name, str(value)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    notebook = json.loads((tmp_path / "out.ipynb").read_text())
    outputs = json.dumps([cell.get("outputs") for cell in notebook["cells"]])
    exhibits = (store.root / "exhibits" / "reading").iterdir()
    texts = [outputs, *(path.read_text() for path in exhibits if path.suffix in (".csv", ".json", ".svg", ".txt"))]
    chain = pd.read_parquet(store.table("reading_chain"))
    tested = set(pd.read_parquet(store.table("frame_selection_runs")).patient_id)
    assert {links: set(own.patient_id) for links, own in chain.groupby("found_links")} == dict.fromkeys(LINKS, tested)
    assert chain.groupby(["found_links", "run_id"]).size().max() <= 2 and chain.score.between(0, 1).sum() > 0
    texts.append((done.stdout + done.stderr).decode().replace(str(planted_study), ""))  # papermill names the parameter
    for text in PLANTED_TEXTS:
        assert not any(text in one for one in texts), text


def said_of_broken_copies(folder: Path, models: ReadingModels) -> list[bytes]:
    """Sentences of refusals of the same files, cut short and with values that no reader expects."""
    said = []
    broken, raw = folder.parent / "broken", min(folder.glob(f"{PLANTED}*.dcm")).read_bytes()
    broken.mkdir()
    for content in (raw[:1500], raw[:-5000], raw[300:]):
        (broken / "file.dcm").write_bytes(content)
        with pytest.raises(InputError) as error:
            read_study(broken, models, key=KEY, progress=False)
        said.append(str(error.value).encode())
    return said


@pytest.fixture
def many(study, tmp_path):
    """Two studies of one run each, and one that holds none."""
    for name in ("Doe_1", "Doe_2"):
        (tmp_path / "many" / name).mkdir(parents=True)
        shutil.copy(study / "a" / "left.dcm", tmp_path / "many" / name)
    (tmp_path / "many" / "Doe_3").mkdir()
    (tmp_path / "many" / "Doe_3" / "letter.txt").write_text("no angiogram")
    (tmp_path / "many" / "Doe_4").symlink_to(study)
    return tmp_path / "many"


def test_a_batch_reads_each_study_once_and_says_which_it_could_not(many, study, store, models, tmp_path, monkeypatch):
    assert models.image_size == SIZE
    out = tmp_path / "out"
    request = ReportRequest(many, store.root, out, device="cpu", progress=False)
    page = write_batch(request)
    table = pd.read_csv(out / "studies.csv")
    assert len(table) == 3 and table.Report.notna().sum() == 2
    assert all((out / report).is_file() and report in page.read_text() for report in table.Report.dropna())
    assert "no angiogram among them" in table.Result[table.Report.isna()].item()
    assert len(list(out.glob("studies/*/predictions.parquet"))) == 2
    for path in (page, out / "studies.csv"):
        assert "Doe" not in path.read_text()
    assert sorted(pd.read_csv(out / STUDIES).study) == ["Doe_1", "Doe_2", "Doe_3"]
    read = []

    def counted(place, *arguments, **options):
        read.append(place.name)
        return read_study(place, *arguments, **options)

    monkeypatch.setattr(report_module, "read_study", counted)
    write_batch(request)
    assert read == [], "finished studies are found again"
    shutil.copy(study / "b" / "odd.dcm", many / "Doe_2")
    write_batch(request)
    assert read == ["Doe_2"], "a study that changed is read again"
    shutil.copytree(store.root / "bundle", tmp_path / "other")
    part = load_part(tmp_path / "other", "frames").folder
    part.save_weights("head", {name: value + 1 for name, value in part.load_weights("head").items()})
    write_batch(replace(request, models=tmp_path / "other"))
    assert sorted(read[1:]) == ["Doe_1", "Doe_2", "Doe_3"], "other networks read again"
    shutil.rmtree(many / "Doe_1")
    assert "Doe" not in repr(request)
    shutil.rmtree(many)
    many.mkdir()
    with pytest.raises(InputError, match="holds no study"):
        write_batch(request)
