"""Images to arteries to patients."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.metrics.aggregation import HOWS, aggregate
from cag.settings import InputError

IMAGES = pd.DataFrame(
    [("P1", "LCA", 0.2, 0), ("P1", "LCA", 0.6, 1), ("P1", "RCA", 0.5, 0), ("P2", "RCA", 0.1, 0)],
    columns=["patient_id", "artery", "score", "target"],
)


@pytest.mark.parametrize(
    ("how", "arteries", "patients"),
    [
        ("max", [0.6, 0.5, 0.1], [0.6, 0.1]),
        ("mean", [0.4, 0.5, 0.1], [0.45, 0.1]),
        ("noisy_or", [1 - 0.8 * 0.4, 0.5, 0.1], [1 - 0.8 * 0.4 * 0.5, 0.1]),
    ],
)
def test_by_hand(how, arteries, patients):
    by_artery, by_patient = aggregate(IMAGES, how), aggregate(IMAGES, how, level="patient")
    assert by_artery["score"].tolist() == pytest.approx(arteries)
    assert by_patient["score"].tolist() == pytest.approx(patients)
    assert by_artery["target"].tolist() == [1, 0, 0] and by_patient["target"].tolist() == [1, 0]
    assert by_artery["n_images"].tolist() == [2, 1, 1] and by_patient["n_images"].tolist() == [3, 1]


def draw(seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "patient_id": rng.choice(["P1", "P2", "P3"], 30),
            "artery": rng.choice(["LCA", "RCA"], 30),
            "score": rng.random(30),
            "target": rng.integers(0, 3, 30),
        }
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from(HOWS), st.sampled_from(["artery", "patient"]))
def test_order_is_immaterial_and_the_rules_are_ordered(seed, how, level):
    images = draw(seed)
    result = aggregate(images, how, level=level)
    pd.testing.assert_frame_equal(aggregate(images.sample(frac=1, random_state=seed), how, level=level), result)
    scores = {rule: aggregate(images, rule, level=level)["score"] for rule in HOWS}
    assert (scores["mean"] <= scores["max"] + 1e-12).all() and (scores["max"] <= scores["noisy_or"] + 1e-12).all()
    assert result["score"].between(0, 1).all()


@pytest.mark.parametrize("wrong", [None, 1.5])
def test_bad_scores_are_refused(wrong):
    with pytest.raises(InputError, match="1 scores lie outside 0 to 1"):
        aggregate(IMAGES.assign(score=[0.1, wrong, 0.2, 0.3]))


def test_no_images_are_no_arteries():
    assert aggregate(IMAGES.iloc[:0]).empty
