"""Settings refuse what they do not know; views and categories of the coronary arteries."""

import numpy as np
import pytest
from pydantic import Field

from cag import anatomy
from cag.settings import Settings, SettingsError, StudySettings, notebook_parameters


class Example(StudySettings):
    epochs: int = Field(3, ge=1)


def test_digest_depends_on_every_field_alone_and_results_lie_in_the_folder_of_the_profile():
    assert Example().digest() == Example(epochs=3).digest()
    assert Example().digest() != Example(epochs=4).digest() and len(Example().digest()) == 16
    assert StudySettings(profile="paper").results.parts[-2:] == ("results", "paper")


class Real(Settings):
    value: float


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (Example, {"epoch": 3}, "epoch: no such parameter. Did you mean 'epochs'"),
        *((Example, {"epochs": value}, "epochs: .* is not accepted") for value in ("many", 0, 1.5)),
        (Real, {"value": float("nan")}, "value"),
    ],
)
def test_a_wrong_name_or_value_is_refused_by_name_and_settings_cannot_be_changed(model, given, said):
    with pytest.raises(SettingsError, match=said):
        model.checked(given)
    with pytest.raises(ValueError, match="frozen"):
        Example().epochs = 5


def test_single_parameters_win_over_the_section_of_a_profile_file_and_both_over_the_cell():
    settings = notebook_parameters({"In": ["epochs = 7"], "epochs": 7}, "example", Example)
    assert settings.epochs == 7
    injected = "# Parameters\nexample = {'epochs': 5, 'seed': 2}\nother = {'x': 1}\nseed = 9\n"
    namespace = {"In": ["epochs = 7", injected], "epochs": 7, "seed": 9}
    namespace |= {"example": {"epochs": 5, "seed": 2}, "other": {"x": 1}}
    settings = notebook_parameters(namespace, "example", Example)
    assert (settings.epochs, settings.seed, settings.section) == (5, 9, "example")


@pytest.mark.parametrize("injected", ["epocs = 2", "example = {'epocs': 5}"])
def test_an_injected_name_that_no_one_knows_is_refused(injected):
    namespace = {"In": ["epochs = 7", f"# Parameters\n{injected}\n"], "epochs": 7}
    exec(injected, namespace)
    with pytest.raises(SettingsError, match="epocs: no such parameter"):
        notebook_parameters(namespace, "example", Example)


def test_ten_of_twenty_nine_segments_are_right_and_every_view_is_named_by_its_angles_and_shows_its_own_artery():
    assert list(anatomy.SEGMENTS) == list(range(1, 30))
    assert [anatomy.artery_of_segment(segment) for segment in anatomy.SEGMENTS].count("RCA") == 10
    with pytest.raises(KeyError, match="30"):
        anatomy.artery_of_segment(30)
    for view in anatomy.VIEWS.values():
        assert anatomy.view_from_angles(view.primary, view.secondary, view.artery) == view.name
        assert {anatomy.artery_of_segment(segment) for segment in view.segments} == {view.artery}
    assert anatomy.view_from_angles(-32, 2, "RCA") == "RCA straight RAO", "angles of a real run"
    assert len(anatomy.MODEL_VIEWS) == 5 and anatomy.MODEL_VIEWS[-1] == "RCA"


@pytest.mark.parametrize(
    ("primary", "secondary", "artery"),
    [(-32, 2, "LCA"), (90, 0, "RCA"), (None, 0, "RCA"), (float("nan"), 0, "RCA"), (40, 0, None)],
)
def test_angles_of_no_view_say_so(primary, secondary, artery):
    assert anatomy.view_from_angles(primary, secondary, artery) == anatomy.NO_STANDARD_VIEW


@pytest.mark.parametrize(
    ("cuts", "categories", "names"),
    [
        ((25,), [0, 0, 1, 1, 1], ["<25 %", ">=25 %"]),
        ((25, 100), [0, 0, 1, 1, 2], ["<25 %", "25-99 %", "100 %"]),
        ((25, 50, 70, 100), [0, 0, 1, 3, 4], ["<25 %", "25-49 %", "50-69 %", "70-99 %", "100 %"]),
    ],
)
def test_cut_points_are_the_lowest_value_of_their_named_category(cuts, categories, names):
    assert anatomy.severity_category(np.array([0, 24.9, 25, 99.9, 100]), cuts).tolist() == categories
    assert anatomy.category_names(cuts) == names and anatomy.category_names((25, 50, 70))[2:] == ["50-69 %", ">=70 %"]
