"""Chords and unions against brute force."""

import pytest
import torch

from cag.simulator.phantom.plan import PatientPlan
from cag.simulator.phantom.thorax import Ellipsoid, Thorax, air_path, length


def test_chord_through_the_middle_is_the_axis():
    ball = Ellipsoid.of([0, 0, 100], [10, 20, 30])
    rays = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
    begin, end = ball.chord(torch.zeros(3), rays)
    assert (float(begin[0, 0]), float(end[0, 0])) == pytest.approx((70.0, 130.0))
    assert float(length((begin, end))[0, 1]) == 0.0


def test_air_is_lung_outside_the_organs():
    thorax = Thorax.of(PatientPlan("P0001", 3))
    source = torch.tensor([-300.0, -50.0, 10.0])
    aim = torch.stack([torch.ones(5, 4), torch.linspace(-0.3, 0.3, 5)[:, None] * torch.ones(5, 4),
                       torch.linspace(-0.2, 0.2, 4) * torch.ones(5, 4)], dim=-1)  # fmt: skip
    rays = aim / aim.norm(dim=-1, keepdim=True)
    share = torch.tensor([0.0, 1.0])
    air = air_path(thorax, source, rays, torch.zeros(5, 5, 4, 3), share)
    place = (torch.arange(6000) + 0.5) / 6000 * 700
    points = source + rays[..., None, :] * place[:, None]

    def inside(organ):
        return (((points - organ.center) @ organ.axes.T) ** 2).sum(-1) < 1

    lungs = inside(thorax.lungs[0]) | inside(thorax.lungs[1])
    covers = torch.stack([inside(organ) for organ in thorax.covers]).any(0)
    for phase, s in enumerate(share.tolist()):
        heart = inside(thorax.heart.moved((4 * s, -3 * s, 3 * s), 1 - 0.1 * s))
        atrium = inside(thorax.atrium.moved((2 * s, -3 * s, 0.0), 1.0))
        counted = (lungs & ~covers & ~heart & ~atrium).float().mean(-1) * 700
        torch.testing.assert_close(air[phase], counted, atol=1.5, rtol=0)
