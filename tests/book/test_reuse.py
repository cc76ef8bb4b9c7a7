from __future__ import annotations

import pytest

from cag.book.profiles import NOTEBOOKS, SECTIONS
from cag.book.reuse import inputs_digest


def digests(root, **values):
    return {name: inputs_digest(NOTEBOOKS / f"{name}.ipynb", values, root) for name in SECTIONS}


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


@pytest.fixture
def data(tmp_path):
    """A folder of public sets, a file each."""
    for name in ("arcade/images/1.png", "dicom_xa/1.dcm", "other/1.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"frame")
    return tmp_path / "data"


def test_real_data_that_come_or_go_concern_the_notebooks_that_show_them(tmp_path, data, monkeypatch):
    monkeypatch.delenv("CAG_DATA", raising=False)
    without = digests(tmp_path)
    monkeypatch.setenv("CAG_DATA", str(data))
    with_data = digests(tmp_path)
    assert changed(without, with_data) == {"01_cohort", "02_frame_selection"}
    moved = data.rename(tmp_path / "elsewhere")
    assert changed(without, digests(tmp_path)) == set()
    monkeypatch.setenv("CAG_DATA", str(moved))
    assert changed(with_data, digests(tmp_path)) == set()
    (moved / "other" / "2.png").write_bytes(b"frame")
    assert changed(with_data, digests(tmp_path)) == set()
    (moved / "dicom_xa" / "2.dcm").write_bytes(b"frame")
    assert changed(with_data, digests(tmp_path)) == {"02_frame_selection"}


@pytest.mark.parametrize("name", ["manifest", "transfer_manifest"])
def test_a_cohort_that_the_environment_names_concerns_whoever_is_given_it(tmp_path, data, monkeypatch, name):
    monkeypatch.delenv("CAG_DATA", raising=False)
    without = digests(tmp_path, **{name: "$CAG_DATA/other"})
    monkeypatch.setenv("CAG_DATA", str(data))
    assert changed(without, digests(tmp_path, **{name: "$CAG_DATA/other"})) == set(SECTIONS)


def test_measurements_of_the_simulator_concern_the_page_that_shows_them(tmp_path):
    before = digests(tmp_path)
    stored = tmp_path / "results" / "published" / "simulator_acceptance.csv"
    stored.parent.mkdir(parents=True)
    stored.write_text("part\n")
    assert changed(before, digests(tmp_path)) == {"01_cohort"}
