import numpy as np
import pytest

from cag.anatomy import (
    MODEL_VIEWS,
    NO_STANDARD_VIEW,
    SEGMENTS,
    VIEWS,
    artery_of_segment,
    category_names,
    severity_category,
    view_from_angles,
)


def test_twenty_nine_segments_ten_of_them_right():
    assert list(SEGMENTS) == list(range(1, 30))
    assert [artery_of_segment(segment) for segment in SEGMENTS].count("RCA") == 10
    with pytest.raises(KeyError, match="30"):
        artery_of_segment(30)


def test_every_view_is_named_by_its_nominal_angles_and_shows_its_own_artery():
    for view in VIEWS.values():
        assert view_from_angles(view.primary, view.secondary, view.artery) == view.name
        assert {artery_of_segment(segment) for segment in view.segments} == {view.artery}
    assert view_from_angles(-32, 2, "RCA") == "RCA straight RAO", "angles of a real run"
    assert len(MODEL_VIEWS) == 5 and MODEL_VIEWS[-1] == "RCA"


@pytest.mark.parametrize(
    ("primary", "secondary", "artery"),
    [(-32, 2, "LCA"), (90, 0, "RCA"), (None, 0, "RCA"), (float("nan"), 0, "RCA"), (40, 0, None)],
)
def test_angles_of_no_view_say_so(primary, secondary, artery):
    assert view_from_angles(primary, secondary, artery) == NO_STANDARD_VIEW


def test_cut_points_are_the_lowest_value_of_their_category():
    percent = np.array([0, 24.9, 25, 99.9, 100])
    assert severity_category(percent, (25,)).tolist() == [0, 0, 1, 1, 1]
    assert severity_category(percent, (25, 100)).tolist() == [0, 0, 1, 1, 2]
    assert severity_category(percent, (25, 50, 70, 100)).tolist() == [0, 0, 1, 3, 4]


def test_names_of_categories():
    assert category_names((25,)) == ["<25 %", ">=25 %"]
    assert category_names((25, 100)) == ["<25 %", "25-99 %", "100 %"]
    assert category_names((25, 50, 70)) == ["<25 %", "25-49 %", "50-69 %", ">=70 %"]
