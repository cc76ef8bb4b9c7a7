"""Devices: only where planned, anchored to the heart, whatever the disease."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cag.simulator.phantom import devices as d
from cag.simulator.phantom.lesions import LesionPlan
from cag.simulator.phantom.plan import CATHETERS, PatientPlan, RunPlan
from cag.simulator.phantom.tree import build_tree

PLAIN = PatientPlan("P0001", 8)
TREES = {"LCA": build_tree(PLAIN, "LCA"), "RCA": build_tree(PLAIN, "RCA")}


def plan(artery: str = "LCA", seed: int = 2, **changes: object) -> RunPlan:
    return RunPlan("R", "P0001", seed, artery, "LCA RAO caudal", -25, -25, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("artery", "name"), [(a, name) for a, names in CATHETERS.items() for name in names])
def test_catheter_ends_at_the_ostium_and_follows_it(artery: str, name: str) -> None:
    tree = TREES[artery]
    part = d.catheter(plan(artery, catheter=name), tree)
    assert float((part.position[-1] - torch.as_tensor(tree.ostium)).norm()) < 4
    assert float(part.follow[-1]) == 1 and float(part.follow[0]) < 0.01
    assert float(part.position[:, 1].max()) > 140
    assert (part.lumen > 0).all() and (part.weight > 0).all()


@pytest.mark.parametrize("flag", ["sternal_wires", "clips", "pacing_leads", "stents"])
def test_a_device_is_there_only_where_planned(flag: str) -> None:
    tree, run = TREES["LCA"], plan()
    without = d.devices(PLAIN, run, tree)
    having = d.devices(replace(PLAIN, **{flag: True}), run, tree)  # type: ignore[arg-type]
    assert len(having.radius) > len(without.radius)


def test_calcium_grows_with_its_amount_and_lies_in_the_walls() -> None:
    tree = TREES["LCA"]
    assert d.calcium(PLAIN, tree) == []
    specks = d.calcium(replace(PLAIN, calcium=1.0), tree)[0]
    distance = torch.cdist(specks.position, torch.as_tensor(tree.position)).amin(1)
    assert float(distance.max()) < 1.4 * float(tree.reference_radius.max())


def test_stent_rings_surround_a_vessel() -> None:
    tree = TREES["RCA"]
    rings = d.stents(replace(PLAIN, stents=True), tree)[0]
    gap, nearest = torch.cdist(rings.position, torch.as_tensor(tree.position)).min(1)
    wall = torch.as_tensor(tree.reference_radius)[nearest]
    assert float((gap / wall).median()) == pytest.approx(1.0, abs=0.1)


def test_disease_leaves_every_device_where_it_is() -> None:
    lesion = LesionPlan("LCA", 13, 0.5, 80.0, 12.0)
    ill = replace(PLAIN, lesions=(lesion,), calcium=0.7, stents=True, clips=True)
    healthy = replace(ill, lesions=())
    one, other = (d.devices(p, plan(), build_tree(p, "LCA")) for p in (ill, healthy))
    assert torch.equal(one.position, other.position)
    assert torch.equal(one.weight, other.weight)
