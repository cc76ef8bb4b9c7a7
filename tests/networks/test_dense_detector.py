"""The dense detector against outlines and boxes by hand."""

import pytest
import torch

from cag.networks.dense_detector import DenseDetector, DenseDetectorSettings, DenseOutput, inside

SQUARE = torch.tensor([[16.0, 16], [48, 16], [48, 32], [16, 32]])
#: A letter L: its upper right corner is outside.
CORNER = torch.tensor([[8.0, 8], [24, 8], [24, 56], [56, 56], [56, 72], [8, 72]])
BOXES = torch.tensor([[16.0, 16, 48, 32], [8, 8, 56, 72]])


def outlines(*shapes):
    """One image's outlines as ``DenseDetector.loss`` wants them, and a row without a lesion."""
    padded = torch.full((1, len(shapes) + 1, 8, 2), torch.nan)
    for row, shape in enumerate(shapes):
        padded[0, row], padded[0, row, : len(shape)] = shape[0], shape
    return padded


@pytest.fixture
def detector(tiny_trunk):
    return DenseDetector(tiny_trunk, DenseDetectorSettings(width=16, score_threshold=0.3))


def test_points_inside_are_those_of_the_polygon_and_none_where_there_is_no_lesion(detector):
    y, x = detector.points(96, 12)
    assert y[:3, 0].tolist() == x[0, :3].tolist() == [4.0, 12.0, 20.0]
    found = inside(x, y, outlines(SQUARE, CORNER))[0]
    leg, foot = (x > 8) & (x < 24) & (y > 8) & (y < 72), (x > 8) & (x < 56) & (y > 56) & (y < 72)
    assert torch.equal(found[0], (x > 16) & (x < 48) & (y > 16) & (y < 32))
    assert torch.equal(found[1], leg | foot) and not found[2].any()


def test_the_loss_is_next_to_nothing_for_the_truth_and_grows_with_each_of_its_parts(detector):
    y, x = detector.points(96, 12)
    peak = detector._peaks(x, y, BOXES[:1, None])[0]
    assert peak.max() == 1 and (peak == 1).sum() == 4, "four cells are equally near to the center"
    lesion = torch.where(inside(x, y, outlines(SQUARE))[:, 0], 20.0, -20.0)
    center, boxes = torch.where(peak > 0.97, 20.0, -20.0), BOXES[0].expand(1, 12, 12, 4)

    def loss_of(*said, truth):
        detector.forward = lambda images: DenseOutput(*said)
        return detector.loss(torch.zeros(1, 1, 96, 96), truth).item()

    least = loss_of(lesion, center, boxes, truth=(square := outlines(SQUARE)))
    assert least < 0.01 and loss_of(-lesion.abs(), -center.abs(), boxes, truth=outlines()) < 0.01
    assert loss_of(-lesion.abs(), center, boxes, truth=square) > 0.5
    assert loss_of(lesion, center.roll(4, 2), boxes, truth=square) > 0.5
    moved = loss_of(lesion, center, boxes + torch.tensor([16.0, 0, 16, 0]), truth=square)
    assert moved - least == pytest.approx(1 - 16 / 48, abs=1e-4), "half of each overlaps the other"


def test_it_learns_two_images_and_reports_their_lesions_first(detector):
    images, truth = torch.zeros(2, 1, 96, 96), torch.cat([outlines(SQUARE), outlines(CORNER)])
    images[0, :, 16:32, 16:48], images[1, :, 8:72, 8:24], images[1, :, 56:72, 8:56] = 1, 1, 1
    optimizer, losses = torch.optim.Adam(detector.parameters(), 0.01), []
    for _ in range(80):
        losses.append(detector.loss(images, truth))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 4
    found = detector.eval().detect(images)
    torch.testing.assert_close(torch.stack([own["boxes"][0] for own in found]), BOXES, atol=6, rtol=0)


def test_detections_are_clipped_suppressed_and_scored_by_both_probabilities(detector):
    lesion, center, boxes = torch.full((1, 12, 12), -20.0), torch.full((1, 12, 12), 20.0), torch.zeros(1, 12, 12, 4)
    rows = [(0.0, [-9.0, -9, 30, 30]), (-0.5, [0.0, 0, 31, 30]), (-1.0, [40.0, 40, 60, 60]), (-4.0, [70.0, 70, 90, 90])]
    for cell, (logit, box) in enumerate(rows):  # the second is suppressed, the fourth below the threshold
        lesion[0, cell, cell], boxes[0, cell, cell] = logit, torch.tensor(box)
    detector.forward = lambda images: DenseOutput(lesion, center, boxes)
    (found,) = detector.detect(torch.zeros(1, 1, 96, 96))
    assert found["boxes"].tolist() == [[0, 0, 30, 30], [40, 40, 60, 60]]
    torch.testing.assert_close(found["scores"], torch.tensor([0.0, -1.0]).sigmoid().sqrt())
