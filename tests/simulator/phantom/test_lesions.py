"""A lesion narrows its vessel to exactly what was planned, where it was planned."""

from dataclasses import replace

import numpy as np
import pytest

from cag.anatomy import ARTERIES, Artery
from cag.settings import InputError
from cag.simulator.phantom.lesions import (
    MEASURABLE,
    MEASURABLE_OCCLUSION,
    VESSELS,
    LesionPlan,
    draw_lesions,
    profile,
    shoulders,
)
from cag.simulator.phantom.plan import PatientPlan
from cag.simulator.phantom.tree import Tree, build_tree

PATIENT = PatientPlan("P0001", 8)


def tree_of(artery: Artery, *lesions: LesionPlan) -> Tree:
    return build_tree(replace(PATIENT, lesions=lesions), artery)


def test_profile_is_one_at_the_throat_and_zero_at_the_shoulders():
    lesion = LesionPlan("LCA", 13, 0.5, 60.0, 20.0, skew=0.1, plateau=0.2)
    np.testing.assert_allclose(profile(lesion, np.array([-8.0, 0.0, 2.0, 12.0, 30.0])), [0, 1, 1, 0, 0], atol=1e-12)
    assert shoulders(lesion, 50.0, 100.0) == (42.0, 62.0)
    assert shoulders(lesion, 5.0, 10.0) == (0.0, 10.0)


@pytest.mark.parametrize("percent", [47.3, 99.0])
@pytest.mark.parametrize(("artery", "segment"), [("LCA", 12), ("LCA", 20), ("RCA", 2)])
def test_throat_is_exact(percent, artery, segment):
    lesion = LesionPlan(artery, segment, 0.5, percent, 12.0, eccentricity=0.6)
    tree = tree_of(artery, lesion)
    (placed,) = tree.lesions
    measured = 100 * (1 - placed.minimal_diameter_mm / placed.reference_diameter_mm)
    assert measured == pytest.approx(percent, abs=1e-9)
    assert tree.segment[placed.throat] == segment
    assert 2 * tree.radius[placed.throat] == pytest.approx(placed.minimal_diameter_mm, rel=1e-6)
    inside = np.zeros(len(tree.arc), dtype=bool)
    inside[placed.first : placed.last] = True
    assert (tree.branch[inside] == placed.branch).all()
    np.testing.assert_array_equal(tree.radius[~inside], tree.reference_radius[~inside])
    ratio = tree.radius[inside] / tree.reference_radius[inside]
    assert ratio.min() == pytest.approx(1 - percent / 100, abs=1e-6)


def test_occlusion_blocks_the_bed_beyond_it_and_only_that():
    tree = tree_of("LCA", LesionPlan("LCA", 13, 0.3, 100.0, 12.0))
    (placed,) = tree.lesions
    own = tree.branch == placed.branch
    np.testing.assert_array_equal(tree.blocked[own], tree.arc[own] >= np.float32(placed.arc_throat))
    assert tree.radius[placed.throat] == 0
    for branch, (parent, joint) in enumerate(zip(tree.parent, tree.parent_arc, strict=True)):
        if parent == placed.branch:
            beyond = joint >= placed.arc_throat
            assert (tree.blocked[tree.branch == branch] == beyond).all()
    assert not tree.blocked[np.isin(tree.segment, (11, 12, 18, 19, 20))].any()


def test_lesions_leave_the_course_where_it_is():
    tandem = (LesionPlan("LCA", 13, 0.2, 70.0, 8.0), LesionPlan("LCA", 13, 0.8, 40.0, 8.0))
    healthy, diseased = tree_of("LCA"), tree_of("LCA", *tandem)
    np.testing.assert_array_equal(healthy.position, diseased.position)
    np.testing.assert_array_equal(healthy.reference_radius, diseased.reference_radius)
    assert len(diseased.lesions) == 2


def test_flow_is_slow_beyond_a_tight_lesion():
    healthy, tight = tree_of("RCA"), tree_of("RCA", LesionPlan("RCA", 2, 0.5, 95.0, 10.0))
    throat = tight.lesions[0].throat
    end = int(np.flatnonzero(tight.branch == 0)[-1])
    np.testing.assert_array_equal(healthy.delay[:throat], tight.delay[:throat])
    assert tight.delay[end] - tight.delay[throat] > 1.5 * (healthy.delay[end] - healthy.delay[throat])


def test_a_segment_the_patient_lacks_is_refused_with_those_there_are():
    patient = replace(PATIENT, dominance="left", lesions=(LesionPlan("RCA", 4, 0.5, 50.0, 10.0),))
    with pytest.raises(InputError, match=r"segment.*no segment 4.*1, 2, 10"):
        build_tree(patient, "RCA")


def test_disease_lies_where_qca_can_measure_it(demo):
    trees = [build_tree(patient, artery) for patient in demo.patients for artery in ARTERIES]
    for placed in (lesion for tree in trees for lesion in tree.lesions if lesion.plan.percent_stenosis >= 25):
        least = MEASURABLE_OCCLUSION if placed.plan.occluded else MEASURABLE
        assert placed.reference_diameter_mm >= least


def test_further_lesions_gather_in_the_vessel_of_the_worst():
    calibers = {segment: np.full(50, 3.0) for segment in range(11, 30)}
    drawn = [draw_lesions("LCA", 1, calibers, np.random.default_rng(seed)) for seed in range(300)]
    pairs = [(x[0].segment, x[1].segment) for x in drawn if len(x) > 1]
    lad, lcx = VESSELS[0], VESSELS[1]
    after_lad, after_lcx = ([second in lad for first, second in pairs if first in own] for own in (lad, lcx))
    assert np.mean(after_lad) > np.mean(after_lcx) + 0.3


def test_the_worst_lesion_is_never_left_out_however_thin_the_vessels():
    calibers = {segment: np.linspace(1.3, 0.9, 40) for segment in (11, 12, 13)} | {18: np.linspace(1.4, 1.0, 40)}
    worst = [draw_lesions("LCA", category, calibers, np.random.default_rng(3))[0] for category in (1, 2)]
    assert [x.segment for x in worst] == [18, 18] and worst[0].percent_stenosis >= 25 and worst[1].occluded
