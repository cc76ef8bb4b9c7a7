"""Class activation maps against a hand-worked case, and boxes from known maps."""

import numpy as np
import pytest
import torch

from cag.networks.cam import activation_from_maps, boxes_from_activation, class_activation, enlarge_activation
from cag.networks.classifier import PlainHead, StenosisClassifier


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


def test_a_cell_is_put_where_it_looks(tiny_trunk):
    coarse = np.zeros((1, 3, 3), dtype=np.float32)
    coarse[0, 2, 0] = 1
    for trunk in (None, tiny_trunk):
        full = enlarge_activation(coarse, 96, 96, trunk)[0]
        row, column = np.unravel_index(full.argmax(), full.shape)
        assert row >= 77 and column <= 19


def test_boxes_enclose_the_connected_parts_best_first():
    activation = np.zeros((20, 30), dtype=np.float32)
    activation[2:5, 4:9] = 0.8
    activation[15:18, 4:9] = 0.8
    activation[15, 4] = 0.76
    activation[10:12, 20:26] = 1.0
    boxes, scores = boxes_from_activation(activation, threshold=0.75)
    np.testing.assert_array_equal(boxes, [[20, 10, 26, 12], [4, 2, 9, 5], [4, 15, 9, 18]])
    np.testing.assert_allclose(scores, [1.0, 0.8, 0.8])
    assert [found.shape for found in boxes_from_activation(activation * 0, threshold=0.0)] == [(0, 4), (0,)]
