"""Training learns, stops, picks the best, repeats itself, goes on where it stopped; augmentation moves boxes along."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cag.networks import transforms
from cag.networks.training import Batches, FitSettings, Runtime, fit, predict
from cag.settings import InputError, SettingsError

X = torch.linspace(-1, 1, 40)[:, None].repeat(1, 3)
Y = (X[:, 0] > 0).long()


def _model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def _loss(model: nn.Module, batch: tuple) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]).float(), batch[1])


def _fit(model: nn.Module, epochs: int = 6, seed: int = 1, config: dict | None = None, **rest):
    plan = FitSettings(epochs=epochs, learning_rate=0.02, precision="fp32", **config or {})
    generator = torch.Generator().manual_seed(seed)
    return fit(model, Batches((X, Y), 8), _loss, plan, generator=generator, device="cpu", progress=False, **rest)


def test_it_learns_a_separable_problem_alike_from_the_same_seed_and_leaves_the_default_generator_alone():
    model = _model()
    history = _fit(model, epochs=30)
    assert (predict(model, X, device="cpu").argmax(dim=1) == Y).float().mean() > 0.9
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] and not model.training
    assert (history.runtime, history.best_epoch) == ("CPU, float32", 29)  # without scores the last state stays
    before = torch.random.get_rng_state()
    first, again, other = _model(), _model(), _model()
    _fit(first), _fit(again), _fit(other, seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first[0].weight, other[0].weight)


def test_the_best_epoch_is_returned_and_patience_ends_training():
    scores, seen = [0.1, 0.9, 0.5, 0.4, 0.3, 0.2], []

    def on_epoch(epoch, model):
        assert not model.training
        seen.append(model[0].weight.detach().clone())
        return scores[epoch]

    model = _model()
    history = _fit(model, on_epoch=on_epoch, config={"patience": 2})
    assert [row["score"] for row in history.rows] == scores[:4]
    assert (history.best_epoch, history.best_score) == (1, 0.9) and torch.equal(model[0].weight, seen[1])


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path, schedule):
    config = {"schedule": schedule, "weight_decay": 0.01}
    whole, half, resumed = _model(), _model(), _model()
    _fit(whole, config=config, on_epoch=lambda epoch, model: float(epoch))

    def stops(epoch, model):
        if epoch == 3:
            raise KeyboardInterrupt
        return float(epoch)

    kept = {"config": config, "checkpoint": tmp_path / "training.pt"}
    with pytest.raises(KeyboardInterrupt):
        _fit(half, on_epoch=stops, **kept)
    history = _fit(resumed, on_epoch=lambda epoch, model: float(epoch), **kept)
    assert [row["epoch"] for row in history.rows] == list(range(6))
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_chosen_order_and_preparation_reach_the_loss_and_predictions_do_not_depend_on_the_batch():
    how = {"order": lambda generator: torch.tensor([3, 3, 5, 7, 9]), "prepare": lambda x, y, generator: (x + 1, y)}
    batches = Batches((X, Y), 4, **how)
    drawn = list(batches.epoch(torch.Generator(), torch.device("cpu")))
    assert [len(y) for _, y in drawn] == [4] and batches.steps() == 1, "the fifth alone is left out"
    torch.testing.assert_close(drawn[0][0], X[[3, 3, 5, 7]] + 1)
    model, how = _model(), {"device": "cpu", "precision": "fp32"}
    torch.testing.assert_close(predict(model, X, batch_size=7, **how), predict(model, X, batch_size=40, **how))
    assert predict(model, X, device="cpu", precision="bf16").dtype == torch.float32
    assert torch.equal(predict(lambda x: x[:, 0], X, prepare=lambda x: x + 1, **how), X[:, 0] + 1)


@pytest.mark.parametrize(("count", "size", "steps"), [(40, 8, 5), (41, 8, 5), (42, 8, 6), (1, 8, 1), (3, 1, 3)])
def test_steps_tells_the_number_of_batches(count, size, steps):
    batches = Batches((torch.arange(count),), size)
    assert batches.steps() == steps == len(list(batches.epoch(torch.Generator(), torch.device("cpu"))))


def test_a_damaged_checkpoint_is_a_sentence(tmp_path):
    checkpoint = tmp_path / "training.pt"
    _fit(_model(), epochs=1, checkpoint=checkpoint)
    whole = checkpoint.read_bytes()
    for damaged, model in ((b"", _model()), (whole[: len(whole) // 2], _model()), (whole, nn.Linear(3, 2))):
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match=r"training.pt: checkpoint cannot be read .*Delete it and run"):
            _fit(model, epochs=2, checkpoint=checkpoint)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_named_and_precision_is_as_asked():
    with pytest.raises(SettingsError, match="device: no CUDA device here"):
        Runtime.choose("cuda")
    assert [Runtime.choose("cpu", asked).dtype for asked in ("fp32", "bf16")] == [torch.float32, torch.bfloat16]


SIZE = 96
STILL = {"flips": False, "degrees": 0, "contrast": (1, 1)}
#: Each random change alone, then the two presets.
EVERY = {
    "flips": transforms.AugmentSettings(**STILL | {"flips": True}),
    "rotation": transforms.AugmentSettings(**STILL | {"degrees": 180}),
    "zoom": transforms.AugmentSettings(**STILL, zoom=(0.7, 1.4)),
    "shift": transforms.AugmentSettings(**STILL, shift=0.2),
    "grey": transforms.AugmentSettings(**STILL, gamma=(0.6, 1.6), brightness=0.2, soften=(-0.7, 0.9), vignette=0.5),
    "published": transforms.PUBLISHED_AUGMENTATION,
    "strong": transforms.STRONG_AUGMENTATION,
}


def drawn(x: float, y: float, radius: float) -> torch.Tensor:
    """A bright disk on a dark ground, in [-1, 1]."""
    column, row = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    disk = ((column - x) ** 2 + (row - y) ** 2 < radius**2).astype(np.float32)
    return torch.from_numpy(disk * 1.6 - 0.8)[None, None]


@pytest.mark.parametrize("name", EVERY)
def test_same_seed_same_images_and_range_is_kept(name):
    images, boxes = torch.rand(3, 1, 24, 24) * 2 - 1, torch.zeros(3, 1, 4)
    how = [(images, boxes, torch.Generator().manual_seed(seed), EVERY[name]) for seed in (1, 1, 2)]
    first, again, other = (transforms.augment_with_boxes(*each)[0] for each in how)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == images.shape and first.abs().max() <= 1


def test_scale_spans_minus_one_to_one_and_no_change_leaves_images_and_boxes_alone():
    images, boxes = torch.rand(2, 1, 20, 20), torch.tensor([[[3.0, 4.0, 9.0, 12.0], [torch.nan] * 4]] * 2)
    same, kept = transforms.augment_with_boxes(images, boxes, torch.Generator(), transforms.AugmentSettings(**STILL))
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(kept, boxes, atol=1e-4, rtol=0, equal_nan=True)
    assert transforms.scale(torch.tensor([[[0, 255]]], dtype=torch.uint8)).tolist() == [[[[-1.0, 1.0]]]]


def test_a_flip_mirrors_a_box_one_whose_center_leaves_is_gone_and_rotation_grows_it_by_the_diagonal_at_most():
    motion = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    boxes = transforms.move_boxes(torch.tensor([[[2.0, 5.0, 6.0, 8.0]]]), motion, (20, 20))
    torch.testing.assert_close(boxes, torch.tensor([[[14.0, 5.0, 18.0, 8.0]]]))
    image = torch.arange(20.0).expand(1, 1, 20, 20)
    torch.testing.assert_close(transforms.move(image, motion), image.flip(3), atol=1e-4, rtol=0)
    away = torch.tensor([[[1.0, 0, 1.5], [0, 1, 0]]])
    assert transforms.move_boxes(torch.tensor([[[10.0, 5.0, 14.0, 8.0]]]), away, (20, 20)).isnan().all()
    boxes = torch.tensor([[[40.0, 40, 60, 60]]])
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        _, moved = transforms.augment_with_boxes(drawn(50, 50, 10), boxes, generator, EVERY["rotation"])
        side = moved[0, 0, 2:] - moved[0, 0, :2]
        assert (side <= 20 * 2**0.5 + 1e-3).all() and (side >= 20 - 1e-3).all()


@pytest.mark.parametrize("name", EVERY)
@given(seed=st.integers(0, 100_000), x=st.floats(15, 81), y=st.floats(15, 81), radius=st.floats(3, 10))
def test_a_box_around_a_disk_still_encloses_it(name, seed, x, y, radius):
    box = torch.tensor([[[x - radius, y - radius, x + radius, y + radius], [torch.nan] * 4]])
    image, boxes = transforms.augment_with_boxes(
        drawn(x, y, radius), box, torch.Generator().manual_seed(seed), EVERY[name]
    )
    kept = boxes[0, 0]
    assert boxes[0, 1].isnan().all()
    low, high = image.min(), image.max()
    rows, columns = torch.nonzero(image[0, 0] > (low + high) / 2 + 0.15 * (high - low), as_tuple=True)
    if kept.isnan().any():  # gone only with its center: less than half of the disk is left in the picture
        places = torch.cat([rows, columns])
        assert high - low < 0.1 or places.min() == 0 or places.max() == SIZE - 1  # a picture without disk is even
        return
    assert kept.min() >= 0 and kept.max() <= SIZE
    spread = 1.5  # pixels by which resampling and softening blur the edge of a disk
    assert kept[0] - spread <= columns.min() and columns.max() + 1 <= kept[2] + spread
    assert kept[1] - spread <= rows.min() and rows.max() + 1 <= kept[3] + spread
