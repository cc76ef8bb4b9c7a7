"""Transfer between two tiny cohorts: who trains, who is scored, what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cag.chapters.localization import training
from cag.chapters.localization import transfer as localization_transfer
from cag.chapters.localization.comparison import localize
from cag.chapters.localization.scores import text_grid
from cag.chapters.localization.settings import fpn_cells
from cag.chapters.localization.training import detector_state, new_detector, train_from
from cag.chapters.localization.transfer import WAYS, Transfer, run_transfer, transfer_scores
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
    return Store(tmp_path_factory.mktemp("transfer"), "cpu")


@pytest.fixture(scope="module")
def transfer(store: Store) -> Transfer:
    own = squares(views=False)
    return run_transfer(localize(own, QUICK, store), own, other(), QUICK, store)


def test_every_way_is_scored_on_the_same_frames(transfer: Transfer) -> None:
    names = ["simulated patients", "real angiograms (ARCADE)"]
    assert list(transfer.cohorts) == names
    assert list(transfer.sides) == [(name, way) for name in names for way in ("home", "applied", "tuned", "prior")]
    for (name, way), side in transfer.sides.items():
        assert side.images.image_id.tolist() == transfer.sides[name, "home"].images.image_id.tolist(), way
        assert set(side.detections.image_id) <= set(side.images.image_id)
        assert "operating" in side.detections


def test_each_detector_is_kept_and_both_cohorts_have_their_own(transfer: Transfer, store: Store) -> None:
    folders = sorted((store.root / "localization_fpn").glob("*/complete.json"))
    assert len(folders) == 2 * QUICK.folds
    states = [RunFolder(path.parent, store).load_weights("detector") for path in folders]
    assert any(not torch.equal(states[0][name], states[-1][name]) for name in states[0])
    assert len(list((store.root / "localization_applied").glob("*/complete.json"))) == 2
    assert len(list((store.root / "localization_tuned").glob("*/complete.json"))) == 2 * QUICK.folds


def test_fine_tuning_starts_from_the_weights_given(tmp_path: Path) -> None:
    own, store = squares(views=False), Store(tmp_path, "cpu")
    cell = fpn_cells(QUICK, None)[0]
    cell = cell.model_copy(update={"fit": cell.fit.model_copy(update={"learning_rate": 1e-12, "epochs": 1})})
    given = {name: torch.full_like(value, 0.01) for name, value in detector_state(new_detector(cell)).items()}
    train_from(new_detector(cell, state=given), own, cell, RunFolder(tmp_path, store))
    for name, value in RunFolder(tmp_path, store).load_weights("detector").items():
        torch.testing.assert_close(value, given[name], rtol=0, atol=1e-6)


def test_finished_pieces_are_found_again(transfer: Transfer, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(localization_transfer, "detect", lambda *_: pytest.fail("applied again"))
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
    assert len(text_grid(scores[scores.against == ""], ["tested_on", "way"], "Metric")) == 2 * len(WAYS)


def test_the_cohort_itself_is_no_other(transfer: Transfer, store: Store) -> None:
    own = squares(views=False)
    with pytest.raises(InputError, match="is the cohort itself"):
        run_transfer(localize(own, QUICK, store), own, squares(views=False), QUICK, store)
