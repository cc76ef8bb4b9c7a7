"""Heads by hand-worked cases: classes and their balance, activation maps, dense targets, detections, intervals."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from cag.networks import frame_selector as fs
from cag.networks.cam import activation_from_maps, boxes_from_activation, class_activation, enlarge_activation
from cag.networks.classifier import AttentionHead, PlainHead, StenosisClassifier, balanced_order
from cag.networks.dense import DenseHead, align, lesion_cells, lumen_cells
from cag.networks.detector import FITTED_DETECTOR, DetectorSettings, StenosisDetector
from cag.networks.trunk import Geometry
from cag.settings import InputError, SettingsError
from cag.simulator.pretraining import dense_loss
from cag.simulator.probes import ProbeNetwork


@pytest.mark.parametrize("head", ["published", "plain"])
def test_batched_equals_single_and_maps_may_be_computed_once(tiny_trunk, images, head):
    model = StenosisClassifier(tiny_trunk, 3, head=head, trainable="head").eval()
    logits = model(images)
    torch.testing.assert_close(logits[1:2], model(images[1:2]))
    torch.testing.assert_close(logits, model.head(model.maps(images)))


@pytest.mark.parametrize(("trainable", "trained"), [("all", True), ("head", False)])
def test_a_frozen_trunk_gets_no_gradient_and_keeps_its_statistics(tiny_trunk, images, trainable, trained):
    model, mean = StenosisClassifier(tiny_trunk, 2, trainable=trainable).train(), tiny_trunk.norm.running_mean.clone()
    model(images).square().sum().backward()
    assert (tiny_trunk.blocks[0].weight.grad is not None) == trained
    assert torch.equal(tiny_trunk.norm.running_mean, mean) != trained
    assert all(parameter.grad is not None for parameter in model.head.parameters())


def test_even_attention_is_plain_averaging():
    head, maps = AttentionHead(4, 2).eval(), torch.randn(2, 4, 3, 3)
    torch.nn.init.zeros_(head.attention[7].weight)
    torch.testing.assert_close(head(maps), head.classifier(head.norm(maps).mean(dim=(2, 3))))


def test_each_class_is_drawn_to_the_paper_s_share_and_no_real_frame_is_refused():
    targets = torch.tensor([0] * 30 + [1] * 10 + [2] * 100)  # 40 real frames in two classes, 100 redundant
    drawn = balanced_order(targets, torch.Generator().manual_seed(0), n_categories=2)
    assert torch.bincount(targets[drawn]).tolist() == [20, 20, 20]
    assert targets[drawn][:20].unique().numel() > 1, "shuffled"
    absent = balanced_order(torch.tensor([0, 0, 2, 2]), torch.Generator(), n_categories=3)
    assert len(absent) == 2, "an absent class is left out"
    with pytest.raises(InputError, match="no frame of any severity category"):
        balanced_order(torch.tensor([2, 2]), torch.Generator(), n_categories=2)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam"])
def test_activation_of_a_linear_head_is_its_weights_times_the_map(method):
    head = PlainHead(3, 2)
    maps = torch.rand(2, 3, 4, 5)
    found = activation_from_maps(head, maps, [1], method)
    weight = head.classifier[1].weight[1][None, :, None, None]
    expected = ((weight.relu() if method == "layercam" else weight) * maps).sum(dim=1).relu()
    low, high = expected.amin(dim=(1, 2), keepdim=True), expected.amax(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(found, ((expected - low) / (high - low)).detach(), atol=1e-4)
    np.testing.assert_allclose(activation_from_maps(head, maps[:1], [1], method), found[:1], rtol=1e-5)


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_activation_spans_zero_to_one_and_leaves_nothing_behind(tiny_trunk, images, trainable):
    model = StenosisClassifier(tiny_trunk, 3, trainable=trainable)
    requires = [parameter.requires_grad for parameter in model.parameters()]
    found = class_activation(model, images, target=(1, 2))
    assert found.shape == (3, 96, 96) and found.min() >= 0 and found.max() <= 1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert requires == [parameter.requires_grad for parameter in model.parameters()]


def test_a_cell_is_put_where_it_looks_and_boxes_enclose_the_connected_parts_best_first(tiny_trunk):
    coarse = np.zeros((1, 3, 3), dtype=np.float32)
    coarse[0, 2, 0] = 1
    for trunk in (None, tiny_trunk):
        full = enlarge_activation(coarse, 96, 96, trunk)[0]
        row, column = np.unravel_index(full.argmax(), full.shape)
        assert row >= 77 and column <= 19
    activation = np.zeros((20, 30), dtype=np.float32)
    activation[2:5, 4:9] = 0.8
    activation[15:18, 4:9] = 0.8
    activation[15, 4] = 0.76
    activation[10:12, 20:26] = 1.0
    boxes, scores = boxes_from_activation(activation, threshold=0.75)
    np.testing.assert_array_equal(boxes, [[20, 10, 26, 12], [4, 2, 9, 5], [4, 15, 9, 18]])
    np.testing.assert_allclose(scores, [1.0, 0.8, 0.8])
    assert [found.shape for found in boxes_from_activation(activation * 0, threshold=0.0)] == [(0, 4), (0,)]


NAN = float("nan")


def test_cells_whose_centers_a_box_covers_are_marked_and_a_map_that_starts_inside_the_image_is_put_in_its_place():
    boxes = torch.tensor([[[7.0, 16.0, 21.0, 24.0], [NAN] * 4]])
    assert lesion_cells(boxes, size=64, grid=8).nonzero().tolist() == [[0, 2, 1], [0, 2, 2]]
    assert lesion_cells(boxes, 64, 8, margin=5).sum() == 3 * 3
    assert lesion_cells(torch.full((2, 1, 4), NAN), 64, 8).sum() == 0
    for x, y in [(1.0, 1.0), (15.9, 33.0), (62.0, 40.1)]:
        tiny = lesion_cells(torch.tensor([[[x - 0.5, y - 0.5, x + 0.5, y + 0.5]]]), 64, 8)
        assert tiny.nonzero().tolist() == [[0, int(y // 8), int(x // 8)]]
    mask = torch.zeros(1, 16, 16)
    mask[0, :8, 2:4] = 1
    assert lumen_cells(mask, 2)[0].tolist() == [[0.25, 0], [0, 0]], "cells of the lumen are shares"
    place, size = Geometry(stride=8, start=13.5), 64
    ramp = (place.start + place.stride * torch.arange(5.0)).expand(1, 1, 5, 5)
    aligned = align(ramp, place, size, grid=8)[0, 0, 0]
    centers = torch.arange(8) * 8 + 4.0
    torch.testing.assert_close(aligned, centers.clamp(13.5, 13.5 + 4 * 8))


def test_the_dense_loss_flows_into_every_stage_and_the_probe_answers_each_image_by_itself(tiny_trunk, images):
    head = DenseHead(tiny_trunk, width=8)
    output, lumen = head(tiny_trunk.stages(images), tiny_trunk, 96), torch.zeros(3, 12, 12)
    boxes = torch.tensor([[[8.0, 8.0, 24.0, 24.0]], [[NAN] * 4], [[40.0, 40.0, 48.0, 48.0]]])
    percent = torch.tensor([[80.0], [NAN], [10.0]])
    loss = dense_loss(output, lumen, boxes, percent, tiny_trunk, 96)
    loss.backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    assert all(block.weight.grad.abs().sum() > 0 for block in tiny_trunk.blocks)
    right = output.fine.detach().clone()
    right[:, 1] = lesion_cells(torch.where((percent >= 25)[..., None], boxes, NAN), 96, 12, 2.0) * 16 - 8
    assert dense_loss(output._replace(fine=right), lumen, boxes, percent, tiny_trunk, 96) < loss
    network, images = ProbeNetwork(4).eval(), torch.randn(3, 1, 48, 40)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), atol=1e-6, rtol=0)


SMALL = FITTED_DETECTOR.model_copy(update={"channels": 16})
NONE = [float("nan")] * 4


def _boxes(*boxes: list[float]) -> torch.Tensor:
    return torch.tensor([[list(box)] for box in boxes], dtype=torch.float32)


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (96, 8), (130, 1), (256, 32)])
def test_groups_are_equal_and_no_channel_is_normalized_alone(tiny_trunk, channels, groups):
    model = StenosisDetector(tiny_trunk, FITTED_DETECTOR.model_copy(update={"channels": channels}))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert {(norm.num_groups, norm.num_channels) for norm in norms} == {(groups, channels)}


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
    with pytest.raises(SettingsError, match="anchor_sizes"):
        DetectorSettings.checked({"anchor_sizes": (32, 64)})


def test_the_loss_flows_everywhere_is_finite_without_boxes_ignores_padding_and_stays_float32(tiny_trunk, images):
    model = StenosisDetector(tiny_trunk, SMALL).train()
    assert torch.isfinite(model.loss(model.maps(images), _boxes(NONE, NONE, NONE), 96))
    model.loss(model.maps(images), _boxes([10, 10, 30, 34], NONE, [50, 40, 62, 52]), 96).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
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
    counts = []
    for threshold in (None, eager.nms_threshold):
        model.settings = eager.model_copy(update={"nms_threshold": threshold, "max_detections": 1000})
        counts.append(len(model.detect(model.maps(images), 96)[0]["boxes"]))
    assert counts[0] > counts[1], "without suppression overlapping boxes stay"


def test_resampling_takes_the_nearest_lower_frame():
    assert fs.resample_indices(5, steps=10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert fs.resample_indices(10, steps=4).tolist() == [0, 2, 5, 7]
    assert fs.resample_indices(64).tolist() == list(range(64))
    with pytest.raises(InputError, match="run of 0 frames"):
        fs.resample_indices(0)


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 129, 300])
def test_a_known_interval_comes_back(n):
    """Exactly up to 64 frames, then within half the sampling distance and without bias."""
    allowed = 0 if n <= 64 else -(-n // 64) // 2
    errors = []
    for begin in range(0, n, max(1, n // 23)):
        for end in range(begin, n, max(1, n // 19)):
            truth = np.zeros(n)
            truth[begin : end + 1] = 1
            if n > 64 and (end - begin + 1 < 2 * n / 64 or end >= fs.resample_indices(n)[-1]):
                continue  # shorter than what resampling sees, or cut by the end of the run
            spread = fs.spread_to_frames(truth[fs.resample_indices(n)], n)
            found = fs.interval_from_probabilities(spread, "last_positive")
            errors.append((found[0] - begin, found[1] - end))
    assert np.abs(errors).max(initial=0) <= allowed and np.abs(np.mean(errors, axis=0)).max() <= 0.75


def test_soft_f1_by_hand_and_of_runs_without_contrast():
    probability = torch.tensor([[0.8, 0.6, 0.1, 0.5], [0.9, 0.9, 0.9, 0.9]])
    truth = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    # 2 * 1.4 / (2.0 + 2) = .7 and 2 * 3.6 / (3.6 + 4) = .947
    expected = 1 - (0.7 + 7.2 / 7.6) / 2
    assert fs.soft_f1_loss(probability.logit(), truth, smooth=0).item() == pytest.approx(expected, abs=1e-6)
    logits = torch.zeros(1, 4, requires_grad=True)
    assert fs.soft_f1_loss(logits, torch.zeros(1, 4), smooth=0).item() == pytest.approx(1)
    loss = fs.soft_f1_loss(logits, torch.zeros(1, 4), smooth=1)
    assert loss.item() == pytest.approx(1 - 1 / 3)
    loss.backward()
    assert (logits.grad > 0).all()  # silence is better


CURVE = (0.1, 0.9, 0.2, 0.2, 0.2, 0.7, 0.9, 0.4, 0.9, 0.8, 0.1, 0.6, 0.1)


@pytest.mark.parametrize(
    ("curve", "rule", "interval"),
    [
        (CURVE, "last_positive", (1, 11)),
        (CURVE, "longest", (8, 9)),  # as long as 5-6, with more mass
        ((0.4, 0.4, 0.4), "longest", None),
        ((1, 1, 1), "longest", (0, 2)),
        ((0.2, 0.5), "longest", (1, 1)),
    ],
)
def test_interval_rules_on_known_curves(curve, rule, interval):
    assert fs.interval_from_probabilities(np.array(curve), rule) == interval


@pytest.mark.parametrize("network", [fs.IntervalLSTM, fs.TemporalConvolution])
def test_sequence_networks_answer_each_step_run_by_run(network):
    model, features = network(features=32).eval(), torch.randn(3, 64, 32)
    logits = model(features)
    assert logits.shape == (3, 64)
    torch.testing.assert_close(logits[:1], model(features[:1]), rtol=1e-4, atol=1e-5)


def test_a_frame_classifier_reads_the_mean_of_the_last_map_and_members_give_their_mean(tiny_trunk, images):
    model = fs.FrameClassifier(tiny_trunk, trainable="head").eval()
    pooled = tiny_trunk(images).mean(dim=(2, 3))
    torch.testing.assert_close(model.features(images), pooled)
    torch.testing.assert_close(model(images), model.head(pooled)[:, 0])
    half, surely = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    for member, probability in ((half, 0.5), (surely, 0.9)):
        torch.nn.init.constant_(member.weight, torch.tensor(probability).logit().item())
    asked = fs.Averaged([half, surely])(torch.ones(1, 3, 1)).sigmoid()
    torch.testing.assert_close(asked, torch.full((1, 3, 1), 0.7))


def standardized(samples: torch.Tensor, **how) -> fs.Standardized:
    model = fs.Standardized(torch.nn.Identity(), samples.shape[-1], **how)
    model.learn_scale(samples)
    return model


def test_the_network_sees_the_components_in_which_training_samples_differ():
    samples = torch.linspace(-1, 1, 41)[:, None] * torch.tensor([0.6, 0.0, 0.8]) + torch.tensor([0.0, 7.0, 0.0])
    model = standardized(samples, components=1)
    seen = model(samples)
    assert seen.shape == (41, 1)
    torch.testing.assert_close(seen.std(), torch.tensor(1.0))
    across = torch.tensor([1.0, 9.0, -1.0]) * model.sd  # in scaled units the component is (1, 0, 1)
    torch.testing.assert_close(model(samples + across), seen, atol=1e-4, rtol=0)


def test_relative_features_hide_what_stays_the_same_and_a_run_that_changes_less_than_any_is_still():
    run = torch.randn(3, 16, 4)
    relative, plain = standardized(run, relative=True), standardized(run)
    torch.testing.assert_close(relative(run), relative(run + torch.tensor([5.0, -3.0, 0.0, 9.0])), atol=1e-5, rtol=0)
    scaled = plain(run).flatten(0, 1)
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(dim=0), torch.ones(4), atol=1e-5, rtol=0)
    runs = torch.randn(3, 16, 4) * torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    model = standardized(runs, relative=True)
    assert model.change(runs).argmin() == 0 and not any(model.is_still(run) for run in runs)
    assert model.is_still(runs[0] * 0.9 + 100) and not model.is_still(runs[0] * 1.1 + 100)
    assert not standardized(runs).is_still(torch.ones(16, 4))
