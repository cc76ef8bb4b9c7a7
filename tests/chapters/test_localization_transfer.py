"""Transfer between two tiny cohorts: who trains, who is scored, what is kept."""

import pytest
import torch

from cag.chapters.localization.comparison import localize, train_detectors
from cag.chapters.localization.settings import fpn_cells
from cag.chapters.localization.transfer import WAYS, run_transfer
from cag.chapters.store import Store
from cag.settings import InputError
from tests.chapters.test_localization import SETTINGS, squares

QUICK = SETTINGS.model_copy(update={"arms": ("clean",), "epochs": 2, "bootstrap": 5})


@pytest.fixture(scope="module")
def other():
    cohort = squares(12, views=False)
    cohort.manifest["source"] = "arcade"
    return cohort


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("transfer"), "cpu")


@pytest.fixture(scope="module")
def sides(store, other):
    own = squares(views=False)
    return run_transfer(localize(own, QUICK, store), own, other, QUICK, store)


def test_every_way_is_scored_on_the_same_frames(sides, store):
    names = ["simulated patients", "real angiograms (ARCADE)"]
    assert list(sides) == [(name, way) for name in names for way in WAYS]
    for (name, way), side in sides.items():
        assert side.images.image_id.tolist() == sides[name, "home"].images.image_id.tolist(), way
        assert set(side.detections.image_id) <= set(side.images.image_id)
        assert "operating" in side.detections
    # each fold of either cohort at home, and fine-tuned from the other
    assert len(list((store.root / "localization_fpn").glob("*/complete.json"))) == 4 * QUICK.folds


def test_fine_tuning_starts_from_the_detector_named(sides, store, other):
    (start, folder), *_ = train_detectors(fpn_cells(QUICK, None), other, store)
    still = start.fit.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    cell = start.model_copy(update={"fit": still, "start": folder.path.name})
    ((_, tuned),) = train_detectors([cell], squares(views=False), store)
    given = folder.load_weights("detector")
    for name, value in tuned.load_weights("detector").items():
        torch.testing.assert_close(value, given[name], rtol=0, atol=1e-6)


def test_the_cohort_itself_is_no_other(store):
    own = squares(views=False)
    with pytest.raises(InputError, match="is the cohort itself"):
        run_transfer(localize(own, QUICK, store), own, squares(views=False), QUICK, store)
