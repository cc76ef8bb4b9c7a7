import pytest
from pydantic import Field

from cag.settings import Settings, SettingsError, StudySettings, notebook_parameters


class Example(StudySettings):
    epochs: int = Field(3, ge=1)


def test_digest_depends_on_every_field_and_on_nothing_else():
    assert Example().digest() == Example(epochs=3).digest()
    assert Example().digest() != Example(epochs=4).digest()
    assert len(Example().digest()) == 16


def test_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(SettingsError, match=r"epoch: no such parameter. Did you mean 'epochs'"):
        Example.checked({"epoch": 3})


@pytest.mark.parametrize("value", ["many", 0, 1.5])
def test_wrong_value_is_refused_by_name(value):
    with pytest.raises(SettingsError, match=r"epochs: .* is not accepted"):
        Example.checked({"epochs": value})


def test_settings_cannot_be_changed_and_nan_is_none():
    class Real(Settings):
        value: float

    with pytest.raises(SettingsError, match="value"):
        Real.checked({"value": float("nan")})
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


def test_results_lie_in_the_folder_of_the_profile():
    assert StudySettings(profile="paper").results.parts[-2:] == ("results", "paper")
