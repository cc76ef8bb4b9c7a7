"""The trunk: sizes, geometry, initial weights, storage."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from torchvision.models import Inception_V3_Weights

from cag.networks.inception import InceptionTrunk, build_trunk, save_trunk
from cag.networks.weights import weights_digest, weights_record
from cag.settings import InputError


@pytest.fixture(scope="module")
def trunk() -> InceptionTrunk:
    return build_trunk("random", seed=3).eval()


def test_the_last_map_is_14_by_14_at_512(trunk):
    with torch.device("meta"):
        images = torch.empty(1, 1, 512, 512)
    maps = trunk.to("meta").stages(images)
    assert {stage: tuple(x.shape[1:]) for stage, x in maps.items()} == {
        "mixed2": (288, 61, 61),
        "mixed7": (768, 30, 30),
        "mixed10": (2048, 14, 14),
    }


@pytest.fixture(scope="module")
def real() -> InceptionTrunk:
    return build_trunk("random", seed=3).eval()


@torch.no_grad()
def test_the_smallest_image_leaves_one_cell_and_a_smaller_one_is_refused_by_name(real):
    assert real(torch.zeros(1, 3, 75, 75)).shape == (1, 2048, 1, 1)
    with pytest.raises(InputError, match=r"image_size: images of 74x90 px.*at least 75"):
        real(torch.zeros(1, 1, 74, 90))


@torch.no_grad()
def test_grey_equals_three_channels_and_batched_equals_single(real):
    images = torch.rand(2, 1, 80, 80, generator=torch.Generator().manual_seed(0)) * 2 - 1
    both = real(images)
    torch.testing.assert_close(both, real(images.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(both[1:], real(images[1:]), rtol=1e-3, atol=1e-4)


def test_a_cell_looks_at_the_place_that_its_geometry_tells(real):
    """What a cell depends on is centered on it; stretching the map over the image would miss by 7 px."""
    images = (torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1).requires_grad_()
    cells = real.stages(images)["mixed2"]
    place = real.geometry("mixed2", 256, cells.shape[-1])
    cells[0, :, 8, 20].square().sum().backward()
    support = torch.nonzero(images.grad[0, 0])
    center = (support.amin(dim=0) + support.amax(dim=0) + 1) / 2
    expected = torch.tensor([place.start + place.stride * 8, place.start + place.stride * 20])
    assert (center - expected).abs().max() <= 2
    assert abs(center[1] - 20.5 * 256 / 29) > 5


def test_the_seed_decides_the_random_weights_and_the_default_generator_is_untouched(real):
    before = torch.random.get_rng_state()
    same, other = build_trunk("random", seed=3), build_trunk("random", seed=4)
    name = "fine.Conv2d_1a_3x3.conv.weight"
    assert torch.equal(same.state_dict()[name], real.state_dict()[name])
    assert not torch.equal(other.state_dict()[name], real.state_dict()[name])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_stored_trunk_comes_back_in_small_shards(real, tmp_path):
    paths = save_trunk(real, tmp_path, {"quality": {"patient_auc": 0.9}})
    assert all(path.stat().st_size < 16_000_000 for path in paths)
    assert sum(path.stat().st_size for path in paths) < 50_000_000
    loaded = build_trunk("xa", seed=9, folder=tmp_path)
    for name, tensor in real.state_dict().items():
        stored = loaded.state_dict()[name]
        assert stored.dtype == tensor.dtype
        torch.testing.assert_close(stored, tensor, rtol=0.01, atol=1e-30)
    assert weights_record(tmp_path) == {"quality": {"patient_auc": 0.9}}
    before = weights_digest(tmp_path)
    assert len(before) == 16 and weights_digest(tmp_path / "nothing") == ""
    paths[0].unlink()
    assert weights_digest(tmp_path) != before
    with pytest.raises(InputError, match="of 3 shards found"):
        build_trunk("xa", seed=0, folder=tmp_path)


def test_missing_foreign_and_broken_weights_are_told_apart(tmp_path):
    with pytest.raises(InputError, match=r"no pre-trained weights found\. Restore"):
        build_trunk("xa", seed=0, folder=tmp_path)
    save_trunk(torch.nn.Linear(2, 2), tmp_path, {})
    with pytest.raises(InputError, match="belong to another network"):
        build_trunk("xa", seed=0, folder=tmp_path)
    next(tmp_path.glob("xa-*")).write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="unreadable"):
        build_trunk("xa", seed=0, folder=tmp_path)


def test_imagenet_weights_without_a_network_are_a_clear_error(monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(type(Inception_V3_Weights.IMAGENET1K_V1), "get_state_dict", offline)
    with pytest.raises(InputError, match="weights: the ImageNet weights cannot be downloaded"):
        build_trunk("imagenet", seed=0)
