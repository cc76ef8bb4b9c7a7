"""Pre-training on a drawn population: targets follow the images, it resumes, it writes its record."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny_trunk import TinyTrunk
from torch import Tensor, nn

from cag.networks.dense import DenseOutput
from cag.networks.training import FitSettings
from cag.simulator import population, pretraining
from cag.simulator.population import Population, PopulationSettings, _stack_boxes, render_population


def _drawn(patients: int = 10, frames: int = 4, size: int = 96) -> Population:
    """A dark square on even patients, with its box."""
    count = patients * frames
    patient = torch.arange(patients).repeat_interleave(frames)
    images, lumen = torch.full((count, size, size), 180), torch.zeros(count, size // 2, size // 2)
    boxes, percent = torch.full((count, 8, 4), torch.nan), torch.full((count, 8), torch.nan)
    for row in range(count):
        if patient[row] % 2 == 0:
            x, y = 16 + 4 * (row % 9), 20 + 3 * (row % 11)
            images[row, y : y + 16, x : x + 16] = 20
            lumen[row, y // 2 : y // 2 + 8, x // 2 : x // 2 + 8] = 255
            boxes[row, 0], percent[row, 0] = torch.tensor([x, y, x + 16.0, y + 16.0]), 60
    side = torch.zeros(count, dtype=torch.long)
    severity = percent[:, :1].nan_to_num().expand(count, 3)
    lumen, images, shown = lumen.to(torch.uint8), images.to(torch.uint8), torch.ones(count) > 0
    return Population(images, lumen, boxes, percent, shown, severity, side, side, patient)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(pretraining, "build_trunk", lambda weights, seed, backbone: TinyTrunk())
    monkeypatch.setattr(pretraining, "render_population", lambda settings, cache, progress: _drawn())
    fit = FitSettings(epochs=2, batch_size=8, learning_rate=0.01, precision="fp32")
    return pretraining.PretrainingSettings(fit=fit, validation_share=0.3)


def test_a_rendered_population_is_found_again(tmp_path, monkeypatch):
    settings = PopulationSettings(patients=4, runs_per_patient=1, image_size=80, contrast_frames=1, background_frames=0)
    rendered = render_population(settings, tmp_path, progress=False)
    assert rendered.frames.shape[1:] == (80, 80) and rendered.lumen.shape[1:] == (40, 40)
    assert set(rendered.patient.tolist()) <= {0, 1, 2, 3} and rendered.contrast.all()
    monkeypatch.setattr(population, "RunRenderer", None)
    again = render_population(settings, tmp_path, progress=False)
    assert torch.equal(again.frames, rendered.frames)


def test_recipes_differ_in_what_teaches_and_the_study_s_seeds_are_refused():
    recipes = [pretraining.recipe("xa", name) for name in ("inception_v3", "efficientnet_lite0")]
    assert recipes == [pretraining.PretrainingSettings(), pretraining.COMPACT]
    labels = pretraining.recipe("xa-labels", "efficientnet_lite0", patients=12)
    assert (labels.supervision, labels.weights, labels.population.patients) == ("labels", "imagenet", 12)
    with pytest.raises(ValueError, match="seed"):
        PopulationSettings(seed=0)


def test_patients_are_split_never_frames_and_boxes_are_scaled_worst_first_and_padded():
    train, held = _drawn().split(0.3, seed=0)
    assert set(train.patient.tolist()).isdisjoint(held.patient.tolist())
    assert len(train) + len(held) == 40 and len(held.patient.unique()) == 3
    names = ["frame", "x1", "y1", "x2", "y2", "percent_stenosis"]
    table = pd.DataFrame([(3, 10, 10, 30, 40, 30), (3, 20, 20, 40, 60, 70)], columns=names)
    boxes, percent = _stack_boxes(table, [3, 5], 0.5, 0.25)
    assert boxes[0, 0].tolist() == [10, 5, 20, 15] and boxes[1].isnan().all()
    assert percent[0, :2].tolist() == [70, 30] and percent[0, 2:].isnan().all()


def test_a_network_that_sees_the_square_measures_perfect():
    class Oracle(pretraining.PretrainingNetwork):
        def forward(self, images):
            dense, frame = super().forward(images)
            dark = nn.functional.avg_pool2d(-images, 8)
            fine = torch.cat([dark.clamp(-0.5) * 20 - 2, dark * 20, dark], dim=1)
            return dense._replace(fine=fine), torch.ones_like(frame)

    quality = pretraining.measure(Oracle(TinyTrunk()), _drawn(), FitSettings(precision="fp32"), "cpu")
    perfect = ("lesion_hit_rate", "patient_auc", "frame_auc", "contrast_accuracy", "artery_accuracy")
    assert all(quality[name] == 1 for name in perfect)


def test_it_trains_writes_shards_and_goes_on_from_its_checkpoint(small, tmp_path):
    folder = tmp_path / "weights"
    result, again = (pretraining.pretrain(small, tmp_path, folder, device="cpu", progress=False) for _ in range(2))
    record = json.loads((folder / "xa.json").read_text())
    assert record["settings"]["fit"]["epochs"] == 2 and [row["epoch"] for row in record["history"]] == [0, 1]
    assert 0 <= record["quality"]["lesion_hit_rate"] <= 1 and list(folder.glob("xa-*.safetensors"))
    assert again.record["history"] == result.record["history"]
    for a, b in zip(result.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_image_labels_alone_teach_what_is_named_by_them(small, tmp_path):
    settings = small.model_copy(update={"supervision": "labels", "epoch_frames": 16})
    result = pretraining.pretrain(settings, tmp_path, tmp_path / "weights", device="cpu", progress=False)
    assert list((tmp_path / "weights").glob("xa-labels-*.safetensors"))
    assert all(0 <= result.record["quality"][name] <= 1 for name in ("image_auc", "artery_auc_50"))
    network = pretraining.PretrainingNetwork(TinyTrunk())
    batches = pretraining.population_batches(_drawn(), 8, small.augmentation)
    drawn = next(batches.epoch(torch.Generator(), torch.device("cpu")))
    pretraining.labels_loss(network, drawn).backward()
    assert all(weight.grad is None for weight in network.dense.parameters()), "masks and boxes teach nothing"


def test_severity_is_learned_from_contrast_frames_with_a_known_one_alone():
    frame = torch.zeros(4, pretraining.FRAME_OUTPUTS, requires_grad=True)
    contrast, percent = torch.tensor([True, True, False, True]), torch.tensor([60.0, 0.0, 100.0, math.nan])
    pretraining.frame_loss(frame, contrast, torch.zeros(4, dtype=torch.long), torch.full((4,), -1), percent).backward()
    told = frame.grad[:, 2 : 2 + len(pretraining.CUTS)].sign()
    assert told.tolist() == [[-1, -1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_the_targets_follow_the_augmented_image(small):
    batches = pretraining.population_batches(_drawn(), small.fit.batch_size, small.augmentation)
    for images, lumen, boxes, *_ in batches.epoch(torch.Generator().manual_seed(3), torch.device("cpu")):
        for image, mask, box in zip(images[:, 0], lumen, boxes[:, 0], strict=True):
            if box.isnan().any():
                continue
            rows, columns = torch.nonzero(mask > 0.5, as_tuple=True)
            center = torch.stack([columns.float().mean(), rows.float().mean()]) * 2 + 1
            torch.testing.assert_close(center, (box[:2] + box[2:]) / 2, rtol=0, atol=4.0)
            assert image[int(center[1]), int(center[0])] < image.median()


class _BrightSpots(nn.Module):
    """Marks a cell of 8 px as a lesion as strongly as it is bright."""

    def forward(self, images: Tensor) -> tuple[DenseOutput, Tensor]:
        cells = nn.functional.avg_pool2d(images, 8) * 8
        fine = torch.cat([cells, cells, cells], dim=1)
        return DenseOutput(fine, torch.zeros(len(images), 2, 1, 1)), torch.zeros(len(images), pretraining.FRAME_OUTPUTS)


def test_only_the_lesions_that_shine_are_found():
    frames = torch.zeros(2, 96, 96, dtype=torch.uint8)
    frames[0, 16:24, 16:24] = 255  # in the 80 % lesion
    frames[1, 40:48, 40:48] = 250  # in the 30 % lesion of the other frame
    boxes = torch.full((2, 2, 4), math.nan)
    boxes[0, 0], boxes[0, 1] = torch.tensor([14.0, 14, 26, 26]), torch.tensor([60.0, 60, 70, 70])
    boxes[1, 0] = torch.tensor([38.0, 38, 50, 50])
    percent = torch.tensor([[80.0, 60.0], [30.0, math.nan]])
    held = replace(_drawn(patients=2, frames=1), frames=frames, boxes=boxes, percent=percent)
    found = pretraining.recall_by_severity(_BrightSpots(), held, FitSettings(batch_size=2, precision="fp32"), "cpu")
    assert math.isnan(found.pop("100")) and found == {"all": 2 / 3, "25-50": 1, "50-70": 0, "70-99": 1}
