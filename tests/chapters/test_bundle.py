"""The bundle gives back what was exported, and names the notebook that exports what is not there."""

import pytest
import torch

from cag.chapters import bundle
from cag.chapters import store as store_module
from cag.chapters.bundle import PARTS, Part, export_part, load_part
from cag.chapters.classification.settings import ClassificationSettings
from cag.chapters.store import Store
from cag.settings import InputError


@pytest.fixture
def export(drawn_cohort, tmp_path):
    store = Store(tmp_path / "demo")

    def export(value=1.0, weights="random"):
        settings = ClassificationSettings.checked({"weights": weights})
        state = {"rca": {"weight": torch.full((3,), value)}}
        common = {"settings": settings, "cohort": drawn_cohort, "weights": state}
        export_part(store, "classification", facts={"folds": {"P00": 1}}, **common)
        return store

    return export


def weight_of(part: Part) -> float:
    (value,) = part.folder.load_weights("rca")["weight"].unique()
    return float(value)


def test_a_part_is_what_was_exported_by_either_folder(export, drawn_cohort):
    root = export().root
    for folder in (root, root / "bundle"):
        part = load_part(folder, "classification")
        assert part.facts == {"folds": {"P00": 1}} and part.settings["weights"] == "random"
        assert weight_of(part) == 1
        assert (part.profile, part.patients, part.runs) == ("demo", 12, 24)
        assert part.cohort_digest == drawn_cohort.digest() and part.cohort == drawn_cohort.simulated_or_real
        assert set(part.folder.load_table("runs").run_id) == set(drawn_cohort.manifest.run_id)


def test_an_export_takes_the_place_of_the_one_before_unless_it_fails(export, monkeypatch):
    root = [export(value).root for value in (0.5, 1.0)][-1]

    def full(*_):
        raise InputError("cannot be written (no space)")

    monkeypatch.setattr(bundle.RunFolder, "save_json", full)
    with pytest.raises(InputError, match="no space"):
        export(2.0)
    assert weight_of(load_part(root, "classification")) == 1


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_part_names_its_notebook(name, tmp_path):
    with pytest.raises(InputError, match=f"notebook {PARTS[name][1]}"):
        load_part(tmp_path, name)


def test_a_frozen_trunk_must_still_be_there(export, monkeypatch):
    root = export(weights="xa").root
    assert load_part(root, "classification").trunk
    monkeypatch.setattr(store_module, "weights_digest", lambda *_: "another")
    with pytest.raises(InputError, match=r"other weights \(xa\). Execute notebook 03"):
        load_part(root, "classification")
