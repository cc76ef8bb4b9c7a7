"""Manifests and label tables: what is built, what is verified, what is refused and how it is said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cag.data.dicom import read_frames
from cag.data.fingerprint import file_digest, fingerprint, fingerprint_frames, same_picture
from cag.data.manifest import build_manifest, verify
from cag.data.tables import COLUMNS, CohortTables, checked_table
from cag.settings import ManifestError


@pytest.fixture
def cohort(tmp_path, write_run, key):
    """Two simulated runs of one patient and one of another, with labels."""
    rows = []
    for name, patient in (("P1_R1", "P1"), ("P1_R2", "P1"), ("P2_R1", "P2")):
        file = tmp_path / "runs" / f"{name}.dcm"
        frames = write_run(file, patient_id=patient, primary_angle=40, secondary_angle=0)
        row = {
            **{"run_id": name, "patient_id": patient, "path": f"runs/{name}.dcm", "sha256": file_digest(file)},
            **{"source": "simulated", "n_frames": 5, "rows": 32, "columns": 40, "fps": 15},
            **{"primary_angle": 40, "secondary_angle": 0, "artery": "RCA", "view": "RCA LAO"},
            **{"contrast_begin": 1, "contrast_end": 3, "end_censored": False},
            "fingerprint": fingerprint(frames[fingerprint_frames(5)]),
        }
        rows.append(row)
    rows[2] |= {"contrast_begin": None, "contrast_end": None}
    lesions = pd.DataFrame({"patient_id": ["P1"], "artery": "RCA", "segment": 2, "percent_stenosis": 70.5})
    boxes = pd.DataFrame({"run_id": ["P1_R1"], "frame": 2, "x1": 1, "y1": 2, "x2": 40, "y2": 32})
    patients = pd.DataFrame({"patient_id": ["P1"], "sex": "F", "age": 61, "smoker": True})
    return CohortTables.checked(pd.DataFrame(rows), patients, lesions, boxes).save(tmp_path / "data_manifest.csv")


def edit(path: Path, /, **columns: object) -> None:
    """Overwrite cells of the first row of a table."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column, value in columns.items():
        table.loc[0, column] = str(value)
    table.to_csv(path, index=False)


def test_tables_survive_writing_and_fingerprints_bear_one_grey_level(cohort):
    tables = CohortTables.load(cohort)
    assert list(tables.manifest) == list(COLUMNS["data_manifest"])
    assert tables.manifest.contrast_begin.tolist()[:2] == [1, 1] and np.isnan(tables.manifest.contrast_begin[2])
    assert tables.manifest.end_censored.dtype == bool and tables.manifest.n_frames.dtype == np.int64
    assert tables.patients.patient_id.tolist() == ["P1", "P2"]
    assert tables.patients.smoker.tolist()[0] is True and pd.isna(tables.patients.smoker[1])
    assert tables.lesions.percent_stenosis.tolist() == [70.5] and tables.boxes.x2.tolist() == [40]
    before = cohort.read_bytes()
    tables.save(cohort, folder=cohort.parent / "runs")
    for name in ("patients", "lesions", "boxes"):
        (cohort.parent / f"{name}.csv").unlink()
    assert len(CohortTables.load(cohort).lesions) == 1, "labels may stand beside the files"
    assert cohort.read_bytes() == before and b"1.0" not in before
    further = checked_table(pd.DataFrame({"patient_id": ["P1"], "center": ["north"]}), "patients")
    assert further.center.tolist() == ["north"] and further.low_quality.tolist() == [False]
    frames = np.full((3, 9, 10), 100, np.uint8)
    assert fingerprint(frames) == "64" * 48 and same_picture(fingerprint(frames), fingerprint(frames + 1))
    assert not same_picture(fingerprint(frames), fingerprint(frames + 2))
    assert not same_picture("64", "6464") and fingerprint_frames(1) == [0, 0, 0]


@pytest.mark.parametrize(
    "table, columns, expected",
    [
        ("data_manifest", {"n_frames": "many"}, "n_frames: line 2: 'many' is not a number"),
        ("data_manifest", {"n_frames": 2.5}, "n_frames: line 2: '2.5' is not a whole number"),
        ("data_manifest", {"n_frames": 0}, "line 2: '0' is below 1.0"),
        ("data_manifest", {"run_id": ""}, "run_id: line 2: the cell is empty"),
        ("data_manifest", {"run_id": "P1_R2"}, "run_id: line 3: 'P1_R2' stands there twice"),
        ("data_manifest", {"sha256": "abc"}, "sha256: line 2: 'abc' breaks "),
        ("data_manifest", {"view": "LCA from above"}, "view: line 2: 'LCA from above' is none of 'LCA "),
        ("data_manifest", {"end_censored": "perhaps"}, "'perhaps' is neither True nor False"),
        ("data_manifest", {"contrast_end": ""}, "line 2: 'P1_R1' has only one end"),
        ("data_manifest", {"contrast_end": 5}, "line 2: 'P1_R1' has no such contrast interval"),
        ("data_manifest", {"path": "../elsewhere.dcm"}, "'../elsewhere.dcm' lies outside"),
        ("data_manifest", {"path": "/etc/passwd"}, "'/etc/passwd' lies outside"),
        ("patients", {"patient_id": "P9"}, "patients.csv, patient_id: line 2: 'P9' is not in the manifest"),
        ("patients", {"age": 150}, "patients.csv, age: line 2: '150'"),
        ("lesions", {"patient_id": "P9"}, "lesions.csv, patient_id: line 2: 'P9' is not in the manifest"),
        ("lesions", {"segment": 12}, "line 2: 'P1' has a lesion whose segment is not of its artery"),
        ("lesions", {"percent_stenosis": 101}, "percent_stenosis: line 2: '101'"),
        ("boxes", {"run_id": "P9_R1"}, "boxes.csv, run_id: line 2: 'P9_R1' is not in the manifest"),
        ("boxes", {"frame": 5}, "'P1_R1, frame 5' does not exist but has a box"),
        ("boxes", {"x1": 40}, "'P1_R1, frame 2' has a box without area"),
        ("boxes", {"x2": 41}, "'P1_R1, frame 2' has a box that reaches outside the image"),
        ("boxes", {"y1": -1}, "reaches outside"),
        ("boxes", {"x2": "nan"}, "x2: line 2: 'nan' is empty"),
        ("boxes", {"x2": "inf"}, "reaches outside"),
        ("boxes", {"x2": "wide"}, "x2: line 2: 'wide' is not a number"),
    ],
)
def test_wrong_cells_are_refused_by_line_and_value(cohort, table, columns, expected):
    edit(cohort.parent / f"{table}.csv", **columns)
    with pytest.raises(ManifestError) as caught:
        CohortTables.load(cohort)
    assert expected in str(caught.value) and caught.value.remedy and "\n" not in str(caught.value)


def test_missing_columns_and_files_are_refused(cohort):
    pd.read_csv(cohort).drop(columns="patient_id").to_csv(cohort, index=False)
    with pytest.raises(ManifestError, match=r"data_manifest.csv, patient_id: this column is missing"):
        CohortTables.load(cohort)
    with pytest.raises(ManifestError, match="no such table"):
        CohortTables.load(cohort.with_name("other.csv"))
    cohort.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not a readable table"):
        CohortTables.load(cohort)


def test_verify_tells_file_by_file(cohort, write_run):
    assert verify(cohort, progress=False) == {}
    runs = cohort.parent / "runs"
    (runs / "P1_R2.dcm").unlink()
    write_run(runs / "P2_R1.dcm", patient_id="P2", primary_angle=40, secondary_angle=0)
    wrong = {"runs/P1_R2.dcm": "is missing", "runs/P2_R1.dcm": "shows another picture"}
    file = runs / "P1_R1.dcm"
    file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))
    assert verify(cohort, progress=False) == wrong, "the last bits of a simulated run may differ"
    edit(cohort, source="dicom")
    assert "SHA-256" in verify(cohort, progress=False)["runs/P1_R1.dcm"]
    outside = cohort.parent.parent / f"outside_{cohort.parent.name}.dcm"
    file.rename(outside)
    file.symlink_to(outside)
    with pytest.raises(ManifestError, match="lies outside the manifest's folder"):
        verify(cohort, progress=False)


def test_a_manifest_is_built_from_any_tree(tmp_path, write_run, key):
    study = tmp_path / "study"
    frames = write_run(study / "a" / "1.dcm", primary_angle=41, secondary_angle=3)
    write_run(study / "b" / "deep" / "2", patient_id="P0002", primary_angle=None, secondary_angle=None)
    (study / "b" / "copy.dcm").write_bytes((study / "a" / "1.dcm").read_bytes())
    (study / "notes.txt").write_text("no angiogram")
    (study / "link.dcm").symlink_to(study / "a" / "1.dcm")
    cut = (study / "a" / "1.dcm").read_bytes()
    (study / "cut.dcm").write_bytes(cut[: len(cut) - 100])
    (study / "runs.csv").write_text("file,artery\na/1.dcm,RCA\n")
    report = build_manifest(study, tmp_path / "data_manifest.csv", key=key, progress=False)
    reasons = report.refused
    assert set(reasons) == {"b/copy.dcm", "notes.txt", "link.dcm", "cut.dcm"}
    assert reasons["notes.txt"].startswith("is not a DICOM file. Give") and "truncated" in reasons["cut.dcm"]
    assert "same bytes as a file before" in reasons["b/copy.dcm"] and reasons["link.dcm"].startswith("is a link")
    known = report.manifest.set_index("path").loc[["study/a/1.dcm", "study/b/deep/2"]]
    assert known["view"].tolist()[0] == "RCA LAO" and known["artery"].isna().tolist() == [False, True]
    assert known["primary_angle"].isna().tolist() == [False, True] and known["patient_id"].nunique() == 2
    assert verify(tmp_path / "data_manifest.csv", progress=False) == {}
    np.testing.assert_array_equal(read_frames(tmp_path / "study/a/1.dcm"), frames)


def test_building_refuses_what_it_cannot_do(tmp_path, key):
    study = tmp_path / "study"
    study.mkdir()
    (study / "notes.txt").write_text("no angiogram")
    with pytest.raises(ManifestError, match=r"1 files and no angiogram among them; notes.txt: is not a DICOM file"):
        build_manifest(study, study / "m.csv", progress=False)
    with pytest.raises(ManifestError, match="is not a folder"):
        build_manifest(tmp_path / "none", tmp_path / "m.csv", key=key)
    archive = (study / "notes.txt").rename(study / "notes.zip")
    for folder, expected in ((archive, "Unpack it, and give the folder"), (study, "notes.zip: is an archive, no file")):
        with pytest.raises(ManifestError, match=expected):
            build_manifest(folder, study / "m.csv", key=key, progress=False)
    with pytest.raises(ManifestError, match="would not lie above"):
        build_manifest(study, tmp_path / "other" / "m.csv", key=key)


def test_real_files_build_a_manifest(cag_data, tmp_path, key):
    for file in (cag_data / "dicom_xa").glob("*.dcm"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    report = build_manifest(tmp_path, tmp_path / "m.csv", key=key, progress=False)
    assert len(report.manifest) == 3 and len(report.refused) == 5
    assert all("Secondary Capture" in reason for reason in report.refused.values())
