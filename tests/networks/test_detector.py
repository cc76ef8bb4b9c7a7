"""The detector: anchors, loss by known answers, detections."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from cag.networks.detector import FITTED_DETECTOR, DetectorSettings, StenosisDetector
from cag.settings import SettingsError

SMALL = FITTED_DETECTOR.model_copy(update={"channels": 16})
NONE = [float("nan")] * 4


def _boxes(*boxes: list[float]) -> torch.Tensor:
    return torch.tensor([[list(box)] for box in boxes], dtype=torch.float32)


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (96, 8), (130, 1), (256, 32)])
def test_groups_are_equal_and_no_channel_is_normalized_alone(tiny_trunk, channels, groups):
    model = StenosisDetector(tiny_trunk, FITTED_DETECTOR.model_copy(update={"channels": channels}))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert {(norm.num_groups, norm.num_channels) for norm in norms} == {(groups, channels)}


def test_wrong_settings_are_named():
    with pytest.raises(SettingsError, match="anchor_sizes"):
        DetectorSettings.checked({"anchor_sizes": (32, 64)})


def test_anchors_tile_the_image_where_the_cells_look(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL)
    logits, offsets, cells = model.raw(model.maps(images))
    assert cells == [12, 6, 3, 2, 1]
    anchors = model.anchors(96, cells)
    assert offsets.shape == (*logits.shape, 4) == (3, len(anchors), 4)
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    np.testing.assert_allclose(centers[[0, 9, -9]], [[4, 4], [12, 4], [16, 16]], atol=0.5)
    sides = (anchors[:, 2:] - anchors[:, :2]).prod(dim=1).sqrt()[: 144 * 9]
    assert sides.min() >= 17 and sides.max() <= 30


def test_the_loss_flows_everywhere_and_is_finite_without_boxes(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL).train()
    assert torch.isfinite(model.loss(model.maps(images), _boxes(NONE, NONE, NONE), 96))
    model.loss(model.maps(images), _boxes([10, 10, 30, 34], NONE, [50, 40, 62, 52]), 96).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_loss_does_not_depend_on_padding_and_stays_float32_under_autocast(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL).eval()
    maps, boxes = model.maps(images), _boxes([10, 10, 30, 34], [5, 5, 20, 20], [50, 40, 62, 52])
    padded = torch.cat([torch.full((3, 2, 4), torch.nan), boxes], dim=1)
    torch.testing.assert_close(model.loss(maps, boxes, 96), model.loss(maps, padded, 96))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.loss(maps, boxes, 96).dtype == torch.float32


def test_a_perfect_answer_has_next_to_no_loss_and_is_detected(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL).eval()
    maps, truth = model.maps(images[:1]), torch.tensor([[[10.0, 10.0, 30.0, 34.0]]])
    _, _, cells = model.raw(maps)
    anchors = model.anchors(96, cells)
    positive = model._matcher(box_iou(truth[0], anchors)) >= 0
    logits = torch.where(positive, 12.0, -12.0)[None]
    offsets = model._coder.encode_single(truth[0].expand(len(anchors), 4), anchors)[None]
    model.raw = lambda maps: (logits, offsets, cells)
    assert model.loss(maps, truth, 96) < 1e-3
    (found,) = model.detect(maps, 96)
    torch.testing.assert_close(found["boxes"], truth[0], rtol=0, atol=1e-3)


def test_detections_are_sorted_inside_the_image_and_batched_equals_single(tiny_trunk, images):
    eager = SMALL.model_copy(update={"score_threshold": 0.0, "max_detections": 7})
    model = StenosisDetector(tiny_trunk, eager).eval()
    found, (alone,) = model.detect(model.maps(images), 96), model.detect(model.maps(images[1:2]), 96)
    torch.testing.assert_close(found[1]["scores"], alone["scores"], rtol=1e-3, atol=1e-5)
    for own in found:
        assert len(own["boxes"]) == len(own["scores"]) <= 7 and (own["scores"].diff() <= 0).all()
        assert own["boxes"].min() >= 0 and own["boxes"].max() <= 96


def test_without_suppression_overlapping_boxes_stay(tiny_trunk, images):
    eager = SMALL.model_copy(update={"score_threshold": 0.0, "max_detections": 1000})
    model, counts = StenosisDetector(tiny_trunk, eager).eval(), []
    for threshold in (None, eager.nms_threshold):
        model.settings = eager.model_copy(update={"nms_threshold": threshold})
        counts.append(len(model.detect(model.maps(images), 96)[0]["boxes"]))
    assert counts[0] > counts[1]
