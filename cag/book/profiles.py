"""The numbered notebooks, and the parameters that a profile gives each of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from cag.settings import ROOT, SettingsError

NOTEBOOKS = ROOT / "notebooks"

#: Notebook stem -> its section in a profile file.
SECTIONS = {
    "01_cohort": "cohort",
    "02_frame_selection": "frame_selection",
    "03_stenosis_classification": "classification",
    "04_two_vs_three_categories": "two_vs_three",
    "05_redundancy_ablation": "redundancy",
    "06_cam_vs_fpn": "localization",
    "07_reading_a_study": "reading",
    "08_scorecard": "scorecard",
    "09_explore": "explore",
}


def load_profile(profile: str) -> dict[str, dict[str, Any]]:
    """Parameters of each notebook in ``notebooks/parameters/<profile>.yaml``.

    Raises
    ------
    SettingsError
        If there is no such profile, or a section belongs to no notebook.
    """
    path = NOTEBOOKS / "parameters" / f"{profile}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise SettingsError("no such profile", field=profile, remedy=f"Known: {known}")
    try:
        sections = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        problem = f"not readable as YAML ({str(error).splitlines()[0]})"
        raise SettingsError(problem, file=path.name, remedy="Mend the file") from None
    unknown = [name for name in sections if name not in SECTIONS.values()]
    if unknown:
        remedy = f"Known sections: {', '.join(SECTIONS.values())}"
        raise SettingsError("belongs to no notebook", file=path.name, field=unknown[0], remedy=remedy)
    return {section: dict(sections.get(section) or {}) for section in SECTIONS.values()}


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Parameters written as ``NAME=VALUE``, their values read as YAML.

    Raises
    ------
    SettingsError
        If one has no value.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"{pair!r} is not NAME=VALUE", field="-p", remedy="Write it as -p epochs=3")
        values[name] = yaml.safe_load(value)
    return values
