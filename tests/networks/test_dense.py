"""Dense targets by hand, alignment of unpadded maps, gradients of the dense loss, the probe."""

import torch

from cag.networks.dense import DenseHead, ProbeNetwork, align, dense_loss, lesion_cells, lumen_cells
from cag.networks.trunk import Geometry

NAN = float("nan")


def test_cells_whose_centers_a_box_covers_are_marked_and_of_a_tiny_box_the_one_it_lies_in():
    boxes = torch.tensor([[[7.0, 16.0, 21.0, 24.0], [NAN] * 4]])
    assert lesion_cells(boxes, size=64, grid=8).nonzero().tolist() == [[0, 2, 1], [0, 2, 2]]
    assert lesion_cells(boxes, 64, 8, margin=5).sum() == 3 * 3
    assert lesion_cells(torch.full((2, 1, 4), NAN), 64, 8).sum() == 0
    for x, y in [(1.0, 1.0), (15.9, 33.0), (62.0, 40.1)]:
        tiny = lesion_cells(torch.tensor([[[x - 0.5, y - 0.5, x + 0.5, y + 0.5]]]), 64, 8)
        assert tiny.nonzero().tolist() == [[0, int(y // 8), int(x // 8)]]


def test_lumen_cells_are_shares():
    mask = torch.zeros(1, 16, 16)
    mask[0, :8, 2:4] = 1
    assert lumen_cells(mask, 2)[0].tolist() == [[0.25, 0], [0, 0]]


def test_a_map_that_starts_inside_the_image_is_put_in_its_place():
    place, size = Geometry(stride=8, start=13.5), 64
    ramp = (place.start + place.stride * torch.arange(5.0)).expand(1, 1, 5, 5)
    aligned = align(ramp, place, size, grid=8)[0, 0, 0]
    centers = torch.arange(8) * 8 + 4.0
    torch.testing.assert_close(aligned, centers.clamp(13.5, 13.5 + 4 * 8))


def test_the_dense_loss_flows_into_every_stage_and_falls_for_the_right_answer(tiny_trunk, images):
    head = DenseHead(tiny_trunk, width=8)
    output = head(tiny_trunk.stages(images), tiny_trunk, 96)
    lumen = torch.zeros(3, 12, 12)
    boxes = torch.tensor([[[8.0, 8.0, 24.0, 24.0]], [[NAN] * 4], [[40.0, 40.0, 48.0, 48.0]]])
    percent = torch.tensor([[80.0], [NAN], [10.0]])
    loss = dense_loss(output, lumen, boxes, percent, tiny_trunk, 96)
    loss.backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    assert all(block.weight.grad.abs().sum() > 0 for block in tiny_trunk.blocks)
    right = output.fine.detach().clone()
    right[:, 1] = lesion_cells(torch.where((percent >= 25)[..., None], boxes, NAN), 96, 12, 2.0) * 16 - 8
    better = dense_loss(output._replace(fine=right), lumen, boxes, percent, tiny_trunk, 96)
    assert better < loss


def test_the_probe_answers_each_image_by_itself_whatever_its_size():
    network, images = ProbeNetwork(4).eval(), torch.randn(3, 1, 48, 40)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), atol=1e-6, rtol=0)
