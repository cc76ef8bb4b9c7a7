"""The tree's geometry: known landmarks, joints, determinism, TIMI frame counts."""

from dataclasses import replace

import numpy as np
import pytest

from cag.anatomy import ARTERIES
from cag.simulator.phantom.growth import segment_calibers
from cag.simulator.phantom.plan import PatientPlan
from cag.simulator.phantom.skeleton import landmarks, spline
from cag.simulator.phantom.tree import Tree, build_tree

Trees = list[Tree]


def patient(seed: int, **changes: object) -> PatientPlan:
    """A patient of average body with some spread in size and tortuosity."""
    rng = np.random.default_rng(seed)
    plan = PatientPlan("P0001", seed, heart_scale=rng.normal(1, 0.06), tortuosity=rng.gamma(2, 0.5))
    return replace(plan, **changes)


@pytest.fixture(scope="module")
def trees():
    """Trees of two dozen patients by artery."""
    return {artery: [build_tree(patient(seed), artery) for seed in range(24)] for artery in ARTERIES}


def along(tree: Tree, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Arc and delay of one branch."""
    own = tree.branch == tree.branch_names.index(name)
    return tree.arc[own], tree.delay[own]


def test_landmarks_are_the_published_ones():
    points = landmarks()
    assert np.linalg.norm(points["L2 mid"]) == pytest.approx(53)
    assert np.linalg.norm(points["R2 mid"] - points["RCA ostium"]) == pytest.approx(46)


def test_spline_passes_its_control_points_and_keeps_a_straight_line_straight():
    points = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], [45, 0, 0]])
    curve, knots = spline(points, 0.25)
    np.testing.assert_allclose(knots, [0, 10, 20, 45], atol=1e-9)
    np.testing.assert_allclose(curve[:, 1:], 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(curve[:, 0]), 0.25, atol=1e-6)


@pytest.mark.parametrize("artery", ARTERIES)
def test_same_seed_same_tree(artery):
    first, second, other = (build_tree(patient(seed), artery) for seed in (3, 3, 4))
    for field in ("position", "radius", "delay", "segment", "step"):
        assert getattr(first, field).tobytes() == getattr(second, field).tobytes()
    assert first.position.tobytes() != other.position.tobytes()


@pytest.mark.parametrize("artery", ARTERIES)
@pytest.mark.parametrize("dominance", ["right", "left", "co"])
def test_branches_are_attached_and_whole(artery, dominance):
    tree = build_tree(patient(11, dominance=dominance, ramus=True), artery)
    for branch, parent in enumerate(tree.parent):
        own = tree.branch == branch
        assert np.ptp(np.flatnonzero(own)) == own.sum() - 1
        assert (np.diff(tree.delay[own]) > 0).all()
        gaps = np.linalg.norm(np.diff(tree.position[own], axis=0), axis=1)
        np.testing.assert_allclose(np.diff(tree.arc[own]), gaps, atol=2e-3)
        assert gaps.max() < 0.8
        if parent >= 0:
            trunk = tree.branch == parent
            joint = np.flatnonzero(trunk)[np.abs(tree.arc[trunk] - tree.parent_arc[branch]).argmin()]
            np.testing.assert_allclose(tree.position[own][0], tree.position[joint], atol=1e-3)
            assert tree.delay[own][0] == pytest.approx(tree.delay[joint], abs=1e-6)
            assert tree.radius[own][0] <= tree.radius[joint] * 1.05
    assert np.isfinite(tree.position).all() and (tree.radius > 0).all() and (tree.step >= 0).all()


@pytest.mark.parametrize(
    ("dominance", "right", "left"), [("right", {4, 5, 6}, set()), ("left", set(), {24, 27}), ("co", {4}, {24})]
)
def test_dominance_decides_who_feeds_the_inferior_wall(dominance, right, left):
    rca, lca = (set(segment_calibers(patient(2, dominance=dominance, ramus=True), name)) for name in ("RCA", "LCA"))
    assert rca & {4, 5, 6} == right and lca & {24, 27} == left
    assert {1, 2, 10} <= rca and {*range(11, 22), 28} <= lca


@pytest.mark.parametrize(
    ("artery", "name", "share", "count"),
    [("LCA", "LAD", 0.78, 36.2), ("LCA", "OM2", 0.8, 22.2), ("RCA", "PLS", 0.35, 20.4)],
)
def test_timi_frame_counts(artery, name, share, count, trees):
    """Frames at 30 a second until contrast reaches a share of a branch (Gibson 1996): LAD, LCx, RCA."""
    courses = [along(tree, name) for tree in trees[artery]]
    found = [30 * np.interp(share * arc[-1], arc, delay) for arc, delay in courses]
    assert np.mean(found) == pytest.approx(count, abs=2.0 if name == "OM2" else 1.5)


@pytest.mark.parametrize(
    ("name", "shortest", "longest", "diameter"),
    [("LM", 8, 13, 4.5), ("LAD", 140, 185, 3.7), ("LCx", 70, 95, 3.4), ("RCA", 100, 130, 3.9)],
)
def test_lengths_and_calibers_are_anatomical(name, shortest, longest, diameter, trees):
    own = trees["RCA" if name == "RCA" else "LCA"]
    assert shortest < np.mean([along(tree, name)[0][-1] for tree in own]) < longest
    origins = [2 * tree.radius[tree.branch == tree.branch_names.index(name)][:20].mean() for tree in own]
    assert np.mean(origins) == pytest.approx(diameter, abs=0.45)
