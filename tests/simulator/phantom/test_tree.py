"""The tree's geometry: known landmarks, joints, determinism, TIMI frame counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cag.anatomy import ARTERIES
from cag.simulator.phantom.growth import segment_calibers
from cag.simulator.phantom.plan import PatientPlan
from cag.simulator.phantom.skeleton import landmarks, spline
from cag.simulator.phantom.tree import Tree, build_tree

SEEDS = range(24)


def patient(seed: int, **changes: object) -> PatientPlan:
    """A patient of average body with some spread in size and tortuosity."""
    rng = np.random.default_rng(seed)
    plan = PatientPlan("P0001", seed, heart_scale=rng.normal(1, 0.06), tortuosity=rng.gamma(2, 0.5))
    return dataclasses.replace(plan, **changes)


@pytest.fixture(scope="module")
def left() -> list[Tree]:
    return [build_tree(patient(seed), "LCA") for seed in SEEDS]


@pytest.fixture(scope="module")
def right() -> list[Tree]:
    return [build_tree(patient(seed), "RCA") for seed in SEEDS]


def along(tree: Tree, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Arc and delay of one branch."""
    own = tree.branch == tree.branch_names.index(name)
    return tree.arc[own], tree.delay[own]


def timi(tree: Tree, name: str, share: float) -> float:
    """Frames at 30 a second until contrast reaches a share of a branch."""
    arc, delay = along(tree, name)
    return 30 * float(np.interp(share * arc[-1], arc, delay))


def test_landmarks_are_the_published_ones() -> None:
    points = landmarks()
    assert np.linalg.norm(points["L2 mid"]) == pytest.approx(53)
    assert np.linalg.norm(points["R2 mid"] - points["RCA ostium"]) == pytest.approx(46)


def test_spline_passes_its_control_points_and_keeps_a_straight_line_straight() -> None:
    points = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], [45, 0, 0]])
    curve, knots = spline(points, 0.25)
    np.testing.assert_allclose(knots, [0, 10, 20, 45], atol=1e-9)
    np.testing.assert_allclose(curve[:, 1:], 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(curve[:, 0]), 0.25, atol=1e-6)


@pytest.mark.parametrize("artery", ARTERIES)
def test_same_seed_same_tree(artery: str) -> None:
    first, second, other = (build_tree(patient(seed), artery) for seed in (3, 3, 4))
    for field in ("position", "radius", "delay", "segment", "step"):
        assert getattr(first, field).tobytes() == getattr(second, field).tobytes()
    assert first.position.tobytes() != other.position.tobytes()


@pytest.mark.parametrize("artery", ARTERIES)
@pytest.mark.parametrize("dominance", ["right", "left", "co"])
def test_branches_are_attached_and_whole(artery: str, dominance: str) -> None:
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
    assert tree.position.dtype == np.float32


def test_dominance_decides_who_feeds_the_inferior_wall() -> None:
    expected = {"right": ({4, 5, 6}, set()), "left": (set(), {24, 27}), "co": ({4}, {24})}
    for dominance, (right_has, left_has) in expected.items():
        plan = patient(2, dominance=dominance)
        rca, lca = set(segment_calibers(plan, "RCA")), set(segment_calibers(plan, "LCA"))
        assert right_has <= rca and left_has <= lca
        assert not ({4, 5, 6} - right_has) & rca
        assert not ({24, 27} - left_has) & lca
        assert {1, 2, 10} <= rca and {11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21} <= lca
    assert 28 in segment_calibers(patient(2, ramus=True), "LCA")


def test_timi_frame_counts(left: list[Tree], right: list[Tree]) -> None:
    """Gibson 1996 at 30 frames a second: LAD 36.2, LCx 22.2, RCA 20.4."""
    assert np.mean([timi(tree, "LAD", 0.78) for tree in left]) == pytest.approx(36.2, abs=1.5)
    assert np.mean([timi(tree, "OM2", 0.8) for tree in left]) == pytest.approx(22.2, abs=2.0)
    assert np.mean([timi(tree, "PLS", 0.35) for tree in right]) == pytest.approx(20.4, abs=1.5)


def test_lengths_and_calibers_are_anatomical(left: list[Tree], right: list[Tree]) -> None:
    bounds = {"LM": (8, 13, 4.5), "LAD": (140, 185, 3.7), "LCx": (70, 95, 3.4), "RCA": (100, 130, 3.9)}
    for name, (shortest, longest, diameter) in bounds.items():
        trees = right if name == "RCA" else left
        assert shortest < np.mean([along(tree, name)[0][-1] for tree in trees]) < longest
        origins = [2 * t.radius[t.branch == t.branch_names.index(name)][:20].mean() for t in trees]
        assert np.mean(origins) == pytest.approx(diameter, abs=0.45)
