"""Transfer between two tiny cohorts: who trains, who is scored, what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cag.chapters.localization import transfer as localization_transfer
from cag.chapters.localization.comparison import localize
from cag.chapters.localization.fpn import detector_state, new_detector, train_fold
from cag.chapters.localization.transfer import WAYS, Transfer, run_transfer
from cag.chapters.localization.transfer_tables import transfer_scores, transfer_text
from cag.chapters.store import RunFolder, Store
from cag.data.cohort import Cohort
from cag.settings import InputError
from tests.chapters.test_localization import SETTINGS, squares

QUICK = SETTINGS.model_copy(update={"arms": ("clean",), "epochs": 2, "bootstrap": 5})


def other() -> Cohort:
    cohort = squares(12, views=False)
    cohort.manifest["source"] = "arcade"
    return cohort


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("transfer"))


@pytest.fixture(scope="module")
def transfer(store: Store) -> Transfer:
    own = squares(views=False)
    return run_transfer(localize(own, QUICK, store), own, other(), QUICK, store)


def test_every_way_is_scored_on_the_same_frames(transfer: Transfer) -> None:
    names = [domain.name for domain in transfer.domains]
    assert names == ["simulated patients", "real angiograms (ARCADE)"]
    assert list(transfer.sides) == [(name, way) for name in names for way in WAYS]
    for (name, _), side in transfer.sides.items():
        domain = transfer.domains[names.index(name)]
        assert side.images.image_id.tolist() == domain.material.frames.images.image_id.tolist()
        assert set(side.detections.image_id) <= set(side.images.image_id)
        assert "operating" in side.detections


def test_each_detector_is_kept_and_both_cohorts_have_their_own(transfer: Transfer, store: Store) -> None:
    own, second = transfer.domains
    states = [
        store.folder("localization_fpn", domain.cells[0], domain.cohort.digest()).load_weights("detector")
        for domain in (own, second)
    ]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert len(list((store.root / "localization_applied").glob("*/complete.json"))) == 2
    assert len(list((store.root / "localization_tuned").glob("*/complete.json"))) == 2 * QUICK.folds


def test_fine_tuning_starts_from_the_weights_given(transfer: Transfer, tmp_path: Path) -> None:
    domain = transfer.domains[0]
    fit = domain.cells[0].fit.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    cell = domain.cells[0].model_copy(update={"fit": fit})
    given = {name: torch.full_like(value, 0.01) for name, value in detector_state(new_detector(cell)).items()}
    train_fold(domain.cohort, cell, RunFolder(tmp_path), material=domain.material, initial=given)
    for name, value in RunFolder(tmp_path).load_weights("detector").items():
        torch.testing.assert_close(value, given[name], rtol=0, atol=1e-6)


def test_finished_pieces_are_found_again(transfer: Transfer, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localization_transfer, "train_fold", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(localization_transfer, "detect_rows", lambda *_: pytest.fail("applied again"))
    own = squares(views=False)
    again = run_transfer(localize(own, QUICK, store), own, other(), QUICK, store)
    for key, side in transfer.sides.items():
        pd.testing.assert_frame_equal(again.sides[key].detections, side.detections)


def test_the_table_has_intervals_and_differences_from_home(transfer: Transfer) -> None:
    scores = transfer_scores(transfer, bootstrap=5, seed=0)
    home = scores[(scores.way == "home") & (scores.metric == "recall")]
    assert home.against.tolist() == ["", ""]
    assert (home.low <= home.value).all() and (home.value <= home.high).all()
    tuned = scores[(scores.way == "tuned") & (scores.metric == "ap50")].pivot_table(
        index="tested_on", columns="against", values="value"
    )
    at_home = scores[(scores.way == "home") & (scores.metric == "ap50")].set_index("tested_on").value
    np.testing.assert_allclose(tuned["home"], tuned[""] - at_home[tuned.index], atol=1e-12)
    text = transfer_text(scores)
    assert len(text) == 2 * len(WAYS)
    assert text["Trained on"].iloc[1] == "the other cohort alone"


def test_the_cohort_itself_is_no_other(tmp_path: Path) -> None:
    own = squares(views=False)
    with pytest.raises(InputError, match="is the cohort itself"):
        run_transfer(localize(own, QUICK, Store(tmp_path)), own, squares(views=False), QUICK, Store(tmp_path))
