"""Sentences say what the intervals allow, and no more."""

import pytest

from cag.chapters import meaning
from cag.metrics.intervals import Estimate

ABOVE, BELOW, AROUND = Estimate(0.2, 0.1, 0.3, 9), Estimate(-0.2, -0.3, -0.1, 9), Estimate(0.1, -0.1, 0.3, 9)
UNKNOWN = Estimate(0.1, float("nan"), float("nan"), 1)


@pytest.mark.parametrize(
    ("difference", "sentence"), [(ABOVE, "more"), (BELOW, "less"), (AROUND, "unclear"), (UNKNOWN, "unclear")]
)
def test_a_difference_is_told_where_its_whole_interval_lies_on_one_side(difference, sentence):
    assert meaning.told(difference, "more", "less", "unclear") == sentence
    assert meaning.telling_digits(Estimate(0.1, 0.0004, 0.2, 9)) == "0.1000 (0.0004 to 0.2000)"


@pytest.mark.parametrize(("published", "word"), [(0.05, "below"), (0.1, "inside"), (0.31, "above")])
def test_a_published_number_is_placed_against_the_interval(published, word):
    assert meaning.beside_published(ABOVE, published) == f"the published {published:.2f} lies {word} the interval"
