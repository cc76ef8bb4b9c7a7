"""From a DICOM tree and a QCA sheet to a cohort that trains; each common mistake is one sentence, told in the book."""

import re
from pathlib import Path

import pytest

from cag.data.cohort import Cohort
from cag.data.manifest import build_manifest
from cag.data.pseudonyms import pseudonym
from cag.data.qca import read_qca
from cag.data.splits import artery_severity
from cag.settings import ROOT, ManifestError

PAGE = re.sub(r"\s+", " ", (ROOT / "book" / "use" / "own_cohort.md").read_text())
HEAD, WITH_ARTERY = "patient,segment,percent_stenosis\n", "patient,artery,segment,percent_stenosis\n"
PATIENTS = ("00417", "00982")


@pytest.fixture
def people(key):
    return {pseudonym(patient, "patient", key) for patient in PATIENTS}


def sheet(tmp_path: Path, text: str, name: str = "qca.csv") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_a_sheet_becomes_lesions_by_pseudonym(tmp_path, people, key):
    text = "Patient;Artery;Segment;Percent_Stenosis\n00417;LAD;13;70,5 %\n00417;RCA;1;0\n00982;;12;55\n"
    lesions, notes = read_qca(sheet(tmp_path, "\ufeff" + text), people, key)
    assert lesions.patient_id.tolist() == [pseudonym(name, "patient", key) for name in (*PATIENTS[:1] * 2, "00982")]
    assert lesions.artery.tolist() == ["LCA", "RCA", "LCA"]
    assert lesions.percent_stenosis.tolist() == [70.5, 0, 55]
    assert notes == ["1 patients have rows for one artery only; the other counts as without stenosis"]
    _, notes = read_qca(sheet(tmp_path, HEAD + "00417,13,70\n00417,1,0\n"), people, key)
    assert "1 patients with runs have no row" in notes[0] and len(notes) == 1


#: Mistake -> the sheet, and what is said. The book's page quotes each sentence.
MISTAKES = {
    "spreadsheet": ("PK", "qca.csv: is not a readable table (BadZipFile). Save it as Excel workbook (.xlsx), or as"),
    "no header": ("00417,13,70\n", "qca.csv, patient: this column is missing. Name the columns patient, segment,"),
    "empty": (HEAD, "qca.csv: holds no lesion. Add a row for each lesion, and one with 0 for each artery without any"),
    "zeros": (HEAD + "417,13,70\n", "Its leading zeros are lost: format the column as text before you save the sheet"),
    "stranger": (HEAD + "MUELLER,13,70\n", "qca.csv, patient: line 2: no run in the folder is of this patient."),
    "no name": (HEAD + ",13,70\n", "qca.csv, patient: line 2: is empty."),
    "segment": (HEAD + "00417,40,70\n", "qca.csv, segment: line 2: '40' is no segment from 1 to 29."),
    "artery": (WITH_ARTERY + "00417,RCA,13,70\n", "segment 13 belongs to the LCA, and the row says RCA."),
    "range": (HEAD + "00417,13,>70\n", "qca.csv, percent_stenosis: line 2: '>70' is no percentage from 0 to 100."),
    "fraction": (HEAD + "00417,13,0.7\n", "line 2: '0.7' is a fraction, no percentage. Write percent: 70, not 0.7"),
    "twice": (HEAD + "00417,13,70\n00417,13,70\n", "qca.csv, segment: line 3: repeats a row above it."),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_one_sentence_that_the_book_quotes(mistake, tmp_path, people, key):
    text, expected = MISTAKES[mistake]
    path = sheet(tmp_path, text)
    with pytest.raises(ManifestError) as caught:
        read_qca(path, people, key)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert f"`{caught.value}`" in PAGE, "the book says what the program says"


def test_cells_that_may_hold_names_are_not_quoted(tmp_path, people, key):
    sheets = [HEAD + row for row in ("00417,13,Mueller\n", "00417,Mueller,70\n", "Mueller,13,70\n")]
    with pytest.raises(ManifestError, match=r"line 2: '13²' is no segment from 1 to 29"):
        read_qca(sheet(tmp_path, HEAD + "00417,13²,70\n"), people, key)
    for text in (*sheets, "Mueller,13,70\n"):  # without a header, identifiers stand in the first line
        with pytest.raises(ManifestError) as caught:
            read_qca(sheet(tmp_path, text), people, key)
        assert "mueller" not in str(caught.value).lower()


def test_a_tree_and_a_sheet_become_a_cohort(tmp_path, write_run, key):
    tree = tmp_path / "export"
    rows = ["file,artery,contrast_begin,contrast_end"]
    for patient in PATIENTS:
        for artery, angles in (("LCA", (-20.0, -25.0)), ("RCA", (40.0, 0.0))):
            file = tree / patient / f"{artery}.dcm"
            write_run(file, 20, patient_id=patient, run_id=artery, primary_angle=angles[0], secondary_angle=angles[1])
            rows.append(f"{patient}/{artery}.dcm,{artery},4,15")
    (tree / "runs.csv").write_text("\n".join(rows))
    table = sheet(tmp_path, HEAD + "00417,13,70\n00417,1,0\n00982,13,0\n00982,1,40\n")
    report = build_manifest(tree, tmp_path / "data_manifest.csv", key=key, qca=table, progress=False)
    assert report.notes == [] and report.refused == {}
    cohort = Cohort.from_manifest(tmp_path / "data_manifest.csv")
    cohort.require("contrast", "view", "lesions", "artery")
    worst = artery_severity(cohort).pivot(index="patient_id", columns="artery", values="percent_stenosis")
    by_name = {name: worst.loc[pseudonym(name, "patient", key)].to_dict() for name in PATIENTS}
    assert by_name == {"00417": {"LCA": 70, "RCA": 0}, "00982": {"LCA": 0, "RCA": 40}}
    assert not re.search("00417|00982", (tmp_path / "lesions.csv").read_text())
    assert cohort.manifest.contrast_begin.tolist() == [4] * 4
