"""The training loop: it learns, stops, picks the best, repeats itself and goes on where it stopped."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

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


def test_it_learns_a_separable_problem():
    model = _model()
    history = _fit(model, epochs=30)
    assert (predict(model, X, device="cpu").argmax(dim=1) == Y).float().mean() > 0.9
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] and not model.training
    assert (history.runtime, history.best_epoch) == ("CPU, float32", 29)  # without scores the last state stays


def test_same_seed_same_weights_and_the_default_generator_is_untouched():
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
    assert (history.best_epoch, history.best_score) == (1, 0.9)
    assert torch.equal(model[0].weight, seen[1])


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


def test_a_chosen_order_and_preparation_reach_the_loss():
    batches = Batches(
        (X, Y), 4, order=lambda generator: torch.tensor([3, 3, 5, 7, 9]), prepare=lambda x, y, generator: (x + 1, y)
    )
    drawn = list(batches.epoch(torch.Generator(), torch.device("cpu")))
    assert [len(y) for _, y in drawn] == [4]  # the fifth alone is left out
    assert batches.steps() == 1
    torch.testing.assert_close(drawn[0][0], X[[3, 3, 5, 7]] + 1)


@pytest.mark.parametrize(("count", "size", "steps"), [(40, 8, 5), (41, 8, 5), (42, 8, 6), (1, 8, 1), (3, 1, 3)])
def test_steps_tells_the_number_of_batches(count, size, steps):
    batches = Batches((torch.arange(count),), size)
    assert batches.steps() == steps == len(list(batches.epoch(torch.Generator(), torch.device("cpu"))))


def test_predictions_do_not_depend_on_the_batch_and_are_float32():
    model, how = _model(), {"device": "cpu", "precision": "fp32"}
    torch.testing.assert_close(predict(model, X, batch_size=7, **how), predict(model, X, batch_size=40, **how))
    assert predict(model, X, device="cpu", precision="bf16").dtype == torch.float32
    assert torch.equal(predict(lambda x: x[:, 0], X, prepare=lambda x: x + 1, **how), X[:, 0] + 1)


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
