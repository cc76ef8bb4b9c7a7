"""The report page: everything in it, nothing asked of any other place, every run shown or explained."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cag.anatomy import NO_STANDARD_VIEW
from cag.book.figures.report_page import SHOWN_FRAMES, report_page
from cag.book.report import FILES, report_json, save_report
from cag.chapters.frames.reading import FrameFinding
from cag.chapters.reading.models import ReadingModels
from cag.chapters.reading.operating import Called, OperatingPoint
from cag.chapters.reading.reading import StudyReading
from cag.chapters.reading.run import RunReading
from cag.chapters.reading.words import statements
from cag.chapters.stages import Stage
from cag.chapters.store import Store
from cag.data.study import StudyFile
from cag.metrics.intervals import Estimate

SIZE, LENGTH = 40, 60


@pytest.fixture
def reading(rng: np.random.Generator, tmp_path: Path) -> StudyReading:
    return StudyReading(
        runs=[used(rng), unused(rng)],
        refused=[StudyFile("F0123456789ab", "DOE^JOHN.txt", None, "", "is not a <DICOM> file")],
        files={"F0123456789ab": "DOE^JOHN.txt", "F1": "1.2.840.1.dcm", "F2": "1.2.840.2.dcm"},
        known={"P1": None},
        models=networks(tmp_path),
    )


def networks(folder: Path) -> ReadingModels:
    """Networks of which only the record is asked."""
    settings = {"folds": 2, "seed": 0, "weights": "random", "trainable": "head", "image_size": 256}
    rates = Called(12, Estimate(0.8, 0.5, 1.0, 12), Estimate(0.7, 0.4, 0.9, 12), Estimate(0.5, 0.2, 0.8, 12))
    return ReadingModels(
        store=Store(folder / "demo"),
        selector=None,  # type: ignore[arg-type]
        triage=None,  # type: ignore[arg-type]
        cells={(2, "RCA", 0): type("Cell", (), {"image_size": 256})()},  # type: ignore[dict-item]
        localization=None,  # type: ignore[arg-type]
        operating=OperatingPoint(0.4, {0: 0.4, 1: 0.6}, "Chosen on patients set aside.", rates, rates),
        stage=Stage(settings, "0" * 16, "simulated patients", 24, 168),
        device="cpu",
    )


def used(rng: np.random.Generator) -> RunReading:
    probability = np.clip(np.sin(np.arange(LENGTH) / LENGTH * np.pi) * 1.2, 0, 1)
    chosen = np.array([20, 30, 40])
    finding = FrameFinding(probability, probability, probability, (15, 45), chosen, "")
    images = pd.DataFrame({"frame": chosen, "p_contrast": probability[chosen], "score": [0.2, 0.9, 0.5]})
    boxes = pd.DataFrame({"frame": [30], "x1": [5.0], "y1": [6.0], "x2": [15.0], "y2": [20.0], "score": [0.7]})
    boxes["counts"] = True
    return RunReading(
        **{"number": 1, "file": "F1", "patient_id": "P1", "study_id": "S1", "run_id": "R1"},  # type: ignore[arg-type]
        n_frames=LENGTH,
        fps=15.0,
        primary_angle=40.0,
        secondary_angle=0.0,
        finding=finding,
        artery="RCA",
        p_right=0.97,
        view="RCA LAO",
        reason="",
        images=images.assign(p_redundant=0.1, p3_0=0.3, p3_1=0.6, p3_2=[0.1, 0.2, 0.1]),
        boxes=boxes,
        frames=rng.integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8),
        heatmaps=rng.integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8),
        cine=rng.integers(0, 256, (LENGTH, 24, 24), dtype=np.uint8),
    )


def unused(rng: np.random.Generator) -> RunReading:
    nothing = np.zeros(0)
    finding = FrameFinding(nothing, nothing, nothing, None, np.zeros(0, dtype=int), "The run has 5 frames & no more.")
    return RunReading(
        **{"number": 2, "file": "F2", "patient_id": "P1", "study_id": "S1", "run_id": "R2"},  # type: ignore[arg-type]
        n_frames=5,
        fps=None,
        primary_angle=None,
        secondary_angle=None,
        finding=finding,
        artery=None,
        p_right=float("nan"),
        view=NO_STANDARD_VIEW,
        reason=finding.reason,
        images=pd.DataFrame({"frame": np.zeros(0, dtype=int), "p_contrast": nothing}),
        boxes=pd.DataFrame(columns=["frame", "x1", "y1", "x2", "y2", "score"], dtype=float).assign(counts=False),
        frames=np.zeros((0, SIZE, SIZE), dtype=np.uint8),
        heatmaps=None,
        cine=rng.integers(0, 256, (5, 24, 24), dtype=np.uint8),
    )


class Collector(HTMLParser):
    """Addresses a page names, and how many elements of each kind it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.count: dict[str, int] = {}
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] != tag and self.open[-1] in ("rect", "line", "polyline"):
            self.open.pop()
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_nothing_of_anyone(reading: StudyReading) -> None:
    page = report_page(reading)
    found = Collector(page)
    assert found.open == [], "every element is closed"
    assert found.addresses and all(address.startswith("data:") for address in found.addresses)
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page


def test_each_run_has_its_player_and_each_chosen_frame_its_layers(reading: StudyReading) -> None:
    page = report_page(reading)
    found = Collector(page)
    assert found.count["section"] == 2 and found.count["figure"] == 3
    pictures = re.findall(r"<script type='application/json'>(.*?)</script>", page)
    assert [len(json.loads(text)) for text in pictures] == [SHOWN_FRAMES, 5]
    assert (
        page.count("class='heat' alt=") == 3
        and "<rect class='counts' x='5.0' y='6.0' width='10.0' height='14.0'/>" in page
    )
    assert "P(≥25 %) 0.90" in page


def test_what_is_not_used_is_explained_and_escaped(reading: StudyReading) -> None:
    page = report_page(reading)
    assert "The run has 5 frames &amp; no more." in page and "is not a &lt;DICOM&gt; file" in page
    assert "LCA not read" in page


def test_the_page_says_what_the_networks_are_and_are_not(reading: StudyReading) -> None:
    page = report_page(reading)
    for text in ("not a medical device", "profile demo", "simulated patients", "24 patients", "random", "0.40"):
        assert text in page, text
    assert any("no real patient" in text for text in statements(reading))


def test_what_is_written_names_no_file(reading: StudyReading, tmp_path: Path) -> None:
    page = save_report(reading, tmp_path / "out")
    for path in (page, page.with_name("report.json"), page.with_name("predictions.parquet")):
        assert not re.search(rb"DOE|1\.2\.840", path.read_bytes())
    assert set(pd.read_csv(tmp_path / "out" / FILES).file) == set(reading.files.values())


def test_numbers_as_json(reading: StudyReading) -> None:
    numbers = json.loads(json.dumps(report_json(reading), allow_nan=False))
    assert numbers["patients"][0]["score"] == pytest.approx(0.9)
    assert [artery["called"] for artery in numbers["arteries"]] == [None, True]
    assert numbers["runs"][0]["interval"] == [15, 45] and numbers["runs"][1]["p_right"] is None
    assert numbers["decision"]["threshold"] == 0.4
    table = reading.images
    assert len(table) == 3 and table.run.tolist() == [1, 1, 1]
