"""The detector: presets, anchors, loss by known answers, detections."""

from __future__ import annotations

import pytest
import torch

from cag.networks.detector import DETECTOR_PRESETS, FITTED_DETECTOR, DetectorSettings, StenosisDetector
from cag.settings import SettingsError

SMALL = FITTED_DETECTOR.model_copy(update={"channels": 16})
NONE = [float("nan")] * 4


def _boxes(*boxes: list[float]) -> torch.Tensor:
    return torch.tensor([[list(box)] for box in boxes], dtype=torch.float32)


def test_the_published_preset():
    config = DETECTOR_PRESETS["published"]
    assert config.anchor_sizes == (32, 64, 128, 256, 512)
    assert config.ratios == (0.5, 1, 2)
    assert len(config.scales) == 3
    assert (config.focal_alpha, config.focal_gamma, config.box_sigma, config.box_weight) == (0.1, 4, 3, 0.2)
    assert config.score_threshold == 0.35
    assert config.nms_threshold is None


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (16, 4), (96, 8), (130, 1), (256, 32)])
def test_groups_are_equal_and_no_channel_is_normalized_alone(tiny_trunk, channels, groups):
    model = StenosisDetector(tiny_trunk, FITTED_DETECTOR.model_copy(update={"channels": channels}))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert {(norm.num_groups, norm.num_channels) for norm in norms} == {(groups, channels)}
    # Three laterals and three outputs of the pyramid, and four convolutions in each of the two heads.
    assert len(norms) == 3 + 3 + 4 + 4


def test_the_published_detector_has_no_normalization_of_its_own(tiny_trunk):
    model = StenosisDetector(tiny_trunk, DETECTOR_PRESETS["published"].model_copy(update={"channels": 8}))
    parts = [*model.pyramid.modules(), *model.head.modules()]
    assert not [part for part in parts if isinstance(part, torch.nn.GroupNorm)]


def test_wrong_settings_are_named():
    with pytest.raises(SettingsError, match="anchor_sizes"):
        DetectorSettings.checked({"anchor_sizes": (32, 64)})


def test_anchors_tile_the_image_where_the_cells_look(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL)
    _, _, cells = model.raw(model.maps(images))
    assert cells == [12, 6, 3, 2, 1]
    anchors = model.anchors(96, cells)
    logits, offsets = model(images)
    assert logits.shape == (3, len(anchors)) == (3, 9 * sum(n * n for n in cells))
    assert offsets.shape == (3, len(anchors), 4)
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centers[0].tolist() == pytest.approx([4, 4], abs=0.5)
    assert centers[9].tolist() == pytest.approx([12, 4], abs=0.5)
    sides = (anchors[:, 2:] - anchors[:, :2]).prod(dim=1).sqrt()
    assert sides[: 144 * 9].min() >= 17
    assert sides[: 144 * 9].max() <= 30


def test_the_loss_is_finite_with_and_without_boxes_and_flows_everywhere(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL).train()
    empty = model.loss(images, _boxes(NONE, NONE, NONE))
    assert torch.isfinite(empty)
    loss = model.loss(images, _boxes([10, 10, 30, 34], NONE, [50, 40, 62, 52]))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_loss_does_not_depend_on_padding_and_stays_float32_under_autocast(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL).eval()
    boxes = _boxes([10, 10, 30, 34], [5, 5, 20, 20], [50, 40, 62, 52])
    padded = torch.cat([torch.full((3, 2, 4), torch.nan), boxes], dim=1)
    torch.testing.assert_close(model.loss(images, boxes), model.loss(images, padded))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.loss(images, boxes).dtype == torch.float32


def test_a_perfect_answer_has_next_to_no_loss_and_is_detected(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL).eval()
    maps, truth = model.maps(images[:1]), torch.tensor([[[10.0, 10.0, 30.0, 34.0]]])
    _, _, cells = model.raw(maps)
    anchors = model.anchors(96, cells)
    positive = model._match(truth[0], anchors) >= 0
    logits = torch.where(positive, 12.0, -12.0)[None]
    offsets = model._coder.encode_single(truth[0].expand(len(anchors), 4), anchors)[None]
    model.raw = lambda maps: (logits, offsets, cells)
    assert model.loss_from_maps(maps, truth, 96) < 1e-3
    found = model.detect_from_maps(maps, 96)[0]
    assert len(found["boxes"]) == 1
    torch.testing.assert_close(found["boxes"], truth[0], rtol=0, atol=1e-3)


def test_detections_are_sorted_inside_the_image_and_batched_equals_single(tiny_trunk, images):
    eager = SMALL.model_copy(update={"score_threshold": 0.0, "max_detections": 7})
    model = StenosisDetector(tiny_trunk, eager).eval()
    found = model.detect(images)
    assert len(found) == 3
    for own in found:
        assert len(own["boxes"]) == len(own["scores"]) <= 7
        assert (own["scores"].diff() <= 0).all()
        assert own["boxes"].min() >= 0
        assert own["boxes"].max() <= 96
    alone = model.detect(images[1:2])[0]
    torch.testing.assert_close(found[1]["scores"], alone["scores"], rtol=1e-3, atol=1e-5)


def test_without_suppression_overlapping_boxes_stay(tiny_trunk, images):
    change = {"score_threshold": 0.0, "max_detections": 1000}
    loose = StenosisDetector(tiny_trunk, SMALL.model_copy(update=change | {"nms_threshold": None})).eval()
    strict = StenosisDetector(tiny_trunk, SMALL.model_copy(update=change)).eval()
    strict.load_state_dict(loose.state_dict())
    assert len(loose.detect(images)[0]["boxes"]) > len(strict.detect(images)[0]["boxes"])


def test_a_frozen_trunk_is_left_alone(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL, trainable="head").train()
    assert not tiny_trunk.training
    model.loss(images, _boxes(NONE, NONE, [50, 40, 62, 52])).backward()
    assert all(parameter.grad is None for parameter in tiny_trunk.parameters())
