"""Other backbones of torchvision as trunks."""

from __future__ import annotations

import pytest
import torch

from cag.networks.inception import build_trunk
from cag.networks.trunk import STAGES
from cag.settings import InputError


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet18", [128, 256, 512]), ("mobilenet_v3_small", [24, 48, 576]), ("shufflenet_v2_x0_5", [48, 96, 1024])],
)
def test_a_backbone_by_name_gives_three_stages(name, channels):
    trunk = build_trunk("random", seed=1, backbone=name).eval()
    maps = trunk.stages(torch.zeros(1, 1, 96, 96))
    assert list(maps) == list(STAGES)
    assert [x.shape[1] for x in maps.values()] == channels == list(trunk.channels.values())
    assert [x.shape[-1] for x in maps.values()] == [12, 6, 3]
    assert torch.equal(trunk(torch.zeros(1, 1, 96, 96)), maps["mixed10"])
    assert trunk.geometry("mixed10", 96, 3) == (32, 16)


def test_the_seed_decides_and_the_default_generator_is_untouched():
    before = torch.random.get_rng_state()
    first, again, other = (build_trunk("random", seed, "resnet18").layers[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet19", "random", "no classifier called 'resnet19'"),
        ("vit_b_16", "random", "does not end in a feature map"),
        ("resnet18", "xa", "no xa weights for resnet18"),
    ],
)
def test_what_cannot_be_a_trunk_is_refused_by_name(name, weights, message):
    with pytest.raises(InputError, match=message):
        build_trunk(weights, seed=0, backbone=name)
