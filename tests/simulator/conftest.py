"""Plans and trees that several tests look at, made once."""

from functools import cache

import pytest

from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.phantom.tree import build_tree


@pytest.fixture(scope="session")
def paper():
    """The 230 patients of the paper."""
    return plan_cohort(CohortSettings(patients=230, min_frames=60, max_frames=200))


@pytest.fixture(scope="session")
def demo():
    """The 24 patients of the demo study."""
    return plan_cohort(CohortSettings())


@pytest.fixture(scope="session")
def grown():
    """The tree of a patient's artery, built once; to be looked at only."""
    return cache(build_tree)
