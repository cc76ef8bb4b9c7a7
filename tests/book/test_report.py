"""The report page: everything in it, nothing asked of any other place, every run shown or explained."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from notebook_cells import page_of, run_cells

from cag.book import report
from cag.book.figures.cine_player import SHOWN_FRAMES, cine_player
from cag.book.figures.frame_selection import ShownRun
from cag.book.report import default_folder, report_json, report_page
from cag.chapters.bundle import Part
from cag.chapters.classification.operating import Called, OperatingPoint
from cag.chapters.frames.selector import FrameFinding
from cag.chapters.reading.models import ReadingModels
from cag.chapters.reading.study import RunReading, StudyReading
from cag.chapters.reading.words import results_table, runs_table, statements
from cag.chapters.store import RunFolder, Store
from cag.data.dicom import Cine
from cag.data.study import StudyFile
from cag.metrics.intervals import Estimate
from cag.settings import ROOT

SIZE, LENGTH = 40, 60
ADDRESSES = ("src", "href", "action", "srcset", "data")


def networks(youden: float = 0.2) -> ReadingModels:
    """Networks of which only the record is asked; ``youden`` is the lower end of its interval."""
    rates = Called(12, Estimate(0.8, 0.5, 1.0, 12), Estimate(0.7, 0.4, 0.9, 12), Estimate(0.5, youden, 0.8, 12))
    operating = OperatingPoint(0.4, {0: 0.4, 1: 0.6}, "Chosen aside.", rates, rates)
    settings = {"folds": 2, "seed": 0, "weights": "random", "trainable": "head", "image_size": 256}
    told = {"cohort": "simulated patients", "cohort_digest": "0" * 16, "patients": 24, "runs": 168}
    origin = {"profile": "demo", "version": "0.1.0", "trunk": ""}
    part = Part(RunFolder(Path("none"), Store(Path("none"))), settings, {}, **told, **origin)
    return ReadingModels({"classification": part}, operating, pd.DataFrame(), None, None, {}, {}, "cpu")


@pytest.fixture
def reading(rng):
    runs = [used(rng), unused(rng)]
    refused = StudyFile("F0123456789ab", "DOE^JOHN.txt", None, "", "is not a <DICOM> file")
    files = {refused.label: refused.name, "F1": "1.2.840.1.dcm", "F2": "1.2.840.2.dcm"}
    return StudyReading(runs=runs, refused=[refused], files=files, known={"P1": None}, models=networks())


def cine(rng: np.random.Generator, run: str, length: int, **known: object) -> Cine:
    header = {"n_frames": length, "rows": SIZE, "columns": SIZE, "plane": ""}
    header |= {"patient_id": "P1", "study_id": "S1", "run_id": run, "series_id": None, "notes": ()}
    header |= {"instance_number": None, "seconds": None, "says_burned_in": False}
    header |= {"fps": None, "primary_angle": None, "secondary_angle": None} | known
    frames = rng.integers(0, 256, (length, 24, 24), dtype=np.uint8)
    return Cine(**header, frames=frames)


def used(rng: np.random.Generator) -> RunReading:
    probability = np.clip(np.sin(np.arange(LENGTH) / LENGTH * np.pi) * 1.2, 0, 1)
    chosen = np.array([20, 30, 40])
    images = pd.DataFrame({"frame": chosen, "p_contrast": probability[chosen], "score": [0.2, 0.9, 0.5]})
    boxes = pd.DataFrame({"frame": [30], "x1": [5.0], "y1": [6.0], "x2": [15.0], "y2": [20.0], "score": [0.7]})
    return RunReading(
        cine(rng, "R1", LENGTH, fps=15.0, primary_angle=40.0, secondary_angle=0.0),
        FrameFinding(probability, (15, 45), chosen),
        rng.integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8),
        images.assign(p_redundant=0.1, p3_0=0.3, p3_1=0.6, p3_2=[0.1, 0.95, 0.1]),
        boxes.assign(counts=True),
        **{"artery": "RCA", "p_right": 0.97, "view": "RCA LAO", "number": 1, "file": "F1"},
        heatmaps=rng.integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8),
    )


def unused(rng: np.random.Generator) -> RunReading:
    reason = "The run has 5 frames & no more."
    return RunReading(
        cine(rng, "R2", 5),
        FrameFinding(reason=reason),
        np.zeros((0, SIZE, SIZE), dtype=np.uint8),
        pd.DataFrame({"frame": np.zeros(0, dtype=int), "p_contrast": np.zeros(0)}),
        pd.DataFrame(columns=["frame", "x1", "y1", "x2", "y2", "score"], dtype=float).assign(counts=False),
        **{"reason": reason, "number": 2, "file": "F2"},
    )


def checked(page: str) -> BeautifulSoup:
    """A page whose elements are closed and whose every address is its own content."""
    for tag in ("div", "section", "table", "figure", "svg", "p", "script", "style"):
        assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag
    soup = BeautifulSoup(page, "html.parser")
    addresses = [str(value) for one in soup.find_all(True) for name, value in one.attrs.items() if name in ADDRESSES]
    assert addresses and all(address.startswith("data:") for address in addresses)
    assert not re.search(r"https?://|@import|url\(", page)
    return soup


def pictures(soup: BeautifulSoup) -> list[int]:
    """How many pictures each player holds."""
    return [len(json.loads(str(player["data-pictures"]))) for player in soup.select(".player")]


def test_the_page_is_whole_with_a_player_for_each_run_and_layers_for_each_chosen_frame(reading):
    page = report_page(reading)
    soup = checked(page)
    assert "default-src 'none'" in page
    assert len(soup.find_all("section")) == 2 and len(soup.find_all("figure")) == 3
    assert pictures(soup) == [SHOWN_FRAMES, 5] and page.count('class="heat" alt=') == 3
    assert '<rect class="counts" x="5.0" y="6.0" width="10.0" height="14.0"/>' in page
    assert '<rect class="found" x="149.9" width="223.7"' in page and page.count('class="chosen"') == 3


def test_a_player_of_a_notebook_is_whole_too_and_chosen_frames_stand_in_pairs_the_highest_score_first(rng, reading):
    frames = rng.integers(0, 256, (50, 300, 300), dtype=np.uint8)
    player = cine_player(ShownRun("", frames, np.linspace(0, 1, 50), (10, 40), None)).data
    assert player is not None and len(player) < 2_000_000 and pictures(checked(player)) == [SHOWN_FRAMES]
    assert '<rect class="truth" x="127.8" width="269.4"' in player and 'class="found"' not in player
    page = page_of()
    run_cells("07_reading_a_study", "reading-29", page=page, reading=replace(reading, runs=reading.runs[:1]))
    axes = page.shown["fig-reading-frames"].axes
    assert [ax.get_title() for ax in axes[:2]] == ["Run 1, RCA, frame 30", "P(≥25 %) 0.90"]
    assert [(len(ax.images), len(ax.patches)) for ax in axes] == [(1, 1), (2, 1), (1, 0), (2, 0)]


def test_the_page_says_what_the_networks_are_escapes_what_it_is_given_and_gives_its_numbers_as_json(reading):
    page = report_page(reading)
    for text in ("not a medical device", "profile demo", "simulated patients", "24 patients", "random", "0.40"):
        assert text in page, text
    assert any("no real patient" in text for text in statements(reading)) and "better than chance" not in page
    assert "The run has 5 frames &amp; no more." in page and "is not a &lt;DICOM&gt; file" in page
    assert "LCA not read" in page
    numbers = json.loads(json.dumps(report_json(reading), allow_nan=False))
    assert numbers["patients"][0]["score"] == pytest.approx(0.9)
    assert [artery["called"] for artery in numbers["arteries"]] == [None, True]
    assert numbers["runs"][0]["interval"] == [15, 45] and numbers["runs"][1]["p_right"] is None
    assert numbers["decision"]["threshold"] == 0.4 and numbers["patients"][0]["result"].startswith("stenosis")
    assert reading.images.run.tolist() == [1, 1, 1]


@pytest.mark.parametrize("low", [0.0, float("nan")])
def test_networks_no_better_than_chance_say_so_first_and_call_nobody(reading, low):
    chance = replace(reading, models=networks(low))
    page = report_page(chance)
    first, second = re.findall(r'<p class="warning">(.*?)</p>', page)
    assert "no better than chance" in first and "medical device" in second
    assert page.count("no better than chance") == 1 and "stenosis of 25 % or more</td>" not in page
    assert "it is called diseased" not in page
    assert chance.patients.called.isna().all() and chance.arteries.called.isna().all()
    assert results_table(chance).Result.tolist() == ["not read", "no call", "no call (LCA not read)"]
    assert report_json(chance)["patients"][0]["called"] is None


def test_tables_hide_what_tells_nothing_and_show_no_occlusion_as_more_probable_than_a_stenosis(reading):
    table = results_table(reading)
    assert (table["P(100 %)"].dropna() <= table["P(≥25 %)"].dropna()).all()
    assert (reading.images.p3_2.max(), table["P(100 %)"].max()) == (0.95, 0.9)
    table = runs_table(reading)
    assert len(table) == 2 and "Patient" not in table and (table.Note != "").sum() == 1
    assert "Note" not in runs_table(replace(reading, runs=reading.runs[:1]))
    other = replace(reading.runs[0], cine=replace(reading.runs[0].cine, patient_id="P2"))
    assert "Patient" in runs_table(replace(reading, runs=[*reading.runs, other]))


def test_the_default_folder_names_nobody_and_git_ignores_what_is_private(tmp_path, monkeypatch):
    assert report.READINGS.is_relative_to(ROOT)
    private = [report.READINGS / "S1" / "report.html", ROOT / "any" / "where" / ".pseudonym_key"]
    private += [ROOT / "any" / name for name in ("files_private.csv", "studies_private.csv")]
    for path in private:
        assert subprocess.run(["git", "check-ignore", "-q", str(path)], cwd=ROOT).returncode == 0, path
    monkeypatch.setattr(report, "READINGS", tmp_path)
    folder = default_folder(tmp_path / "Doe_John")
    assert folder.parent == tmp_path and "Doe" not in folder.name
    assert folder == default_folder(tmp_path / "Doe_John") != default_folder(tmp_path / "Doe_Jane")
