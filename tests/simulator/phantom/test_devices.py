"""Devices: only where planned, anchored to the heart, whatever the disease."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cag.simulator.phantom import devices as d
from cag.simulator.phantom.lesions import LesionPlan
from cag.simulator.phantom.plan import CATHETERS, PatientPlan, RunPlan
from cag.simulator.phantom.tree import Tree

PLAIN = PatientPlan("P0001", 8)
RUN = RunPlan("R", "P0001", 2, "LCA", "LCA RAO caudal", -25, -25)
Grown = Callable[..., Tree]


@pytest.mark.parametrize(("artery", "name"), [(a, name) for a, names in CATHETERS.items() for name in names])
def test_catheter_ends_at_the_ostium_and_follows_it(artery, name, grown):
    tree = grown(PLAIN, artery)
    part = d.catheter(replace(RUN, artery=artery, catheter=name), tree)
    assert float((part.position[-1] - torch.as_tensor(tree.ostium)).norm()) < 4
    assert float(part.follow[-1]) == 1 and float(part.follow[0]) < 0.01
    assert float(part.position[:, 1].max()) > 140


@pytest.mark.parametrize("flag", ["sternal_wires", "clips", "pacing_leads", "stents"])
def test_a_device_is_there_only_where_planned(flag, grown):
    without, having = (d.devices(replace(PLAIN, **{flag: there}), RUN, grown(PLAIN, "LCA")) for there in (False, True))
    assert len(having.radius) > len(without.radius)


def test_calcium_lies_in_the_walls_and_stent_rings_surround_a_vessel(grown):
    tree = grown(PLAIN, "LCA")
    assert d.calcium(PLAIN, tree) == []
    specks = d.calcium(replace(PLAIN, calcium=1.0), tree)[0]
    rings = d.stents(replace(PLAIN, stents=True), tree)[0]
    reference = torch.as_tensor(tree.reference_radius)
    gaps = [torch.cdist(part.position, torch.as_tensor(tree.position)).min(1) for part in (specks, rings)]
    assert float(gaps[0].values.max()) < 1.4 * float(reference.max())
    assert float((gaps[1].values / reference[gaps[1].indices]).median()) == pytest.approx(1.0, abs=0.1)


def test_disease_leaves_every_device_where_it_is(grown):
    lesion = LesionPlan("LCA", 13, 0.5, 80.0, 12.0)
    ill = replace(PLAIN, lesions=(lesion,), calcium=0.7, stents=True, clips=True)
    one, other = (d.devices(p, RUN, grown(p, "LCA")) for p in (ill, replace(ill, lesions=())))
    assert torch.equal(one.position, other.position)
    assert torch.equal(one.weight, other.weight)
