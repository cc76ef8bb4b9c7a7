"""The training loop: it learns, stops, picks the best, repeats itself and goes on where it stopped."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cag.networks.checkpoint import Checkpoint
from cag.networks.memory import MemoryWarning, is_out_of_memory
from cag.networks.runtime import Runtime
from cag.networks.training import Batches, FitSettings, fit, predict
from cag.settings import InputError, SettingsError

X = torch.linspace(-1, 1, 40)[:, None].repeat(1, 3)
Y = (X[:, 0] > 0).long()


def _model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def _loss(model: nn.Module, batch: tuple) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]).float(), batch[1])


def _fit(model: nn.Module, epochs: int = 6, seed: int = 1, batches: Batches | None = None, **rest):
    config = FitSettings(epochs=epochs, batch_size=8, learning_rate=0.02, precision="fp32", **rest.pop("config", {}))
    generator = torch.Generator().manual_seed(seed)
    batches = batches or Batches((X, Y), 8)
    return fit(model, batches, _loss, config, generator=generator, device="cpu", progress=False, **rest)


def test_it_learns_a_separable_problem():
    model = _model()
    history = _fit(model, epochs=30)
    accuracy = (predict(model, X, device="cpu").argmax(dim=1) == Y).float().mean()
    assert accuracy > 0.9
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]
    assert not model.training
    assert history.runtime == "CPU, float32"


def test_same_seed_same_weights_and_the_default_generator_is_untouched():
    before = torch.random.get_rng_state()
    first, again, other = _model(), _model(), _model()
    _fit(first), _fit(again), _fit(other, seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first[0].weight, other[0].weight)


def test_the_best_epoch_is_returned_and_patience_ends_training():
    scores, seen = [0.1, 0.9, 0.5, 0.4, 0.3, 0.2], []

    def on_epoch(epoch: int, model: nn.Module) -> float:
        assert not model.training
        seen.append(model[0].weight.detach().clone())
        return scores[epoch]

    model = _model()
    history = _fit(model, on_epoch=on_epoch, config={"patience": 2})
    assert [row["score"] for row in history.rows] == scores[:4]
    assert (history.best_epoch, history.best_score) == (1, 0.9)
    assert torch.equal(model[0].weight, seen[1])


def test_without_a_score_the_last_state_stays():
    history = _fit(_model(), epochs=3, on_epoch=lambda epoch, model: None)
    assert history.best_epoch == 2
    assert len(history.rows) == 3


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path, schedule):
    config = {"schedule": schedule, "weight_decay": 0.01}
    whole, half = _model(), _model()
    _fit(whole, config=config, on_epoch=lambda epoch, model: float(epoch))

    def stops(epoch: int, model: nn.Module) -> float:
        if epoch == 3:
            raise KeyboardInterrupt
        return float(epoch)

    with pytest.raises(KeyboardInterrupt):
        _fit(half, config=config, on_epoch=stops, checkpoint=Checkpoint(tmp_path / "training.safetensors"))
    resumed = _model()
    history = _fit(
        resumed,
        config=config,
        on_epoch=lambda epoch, model: float(epoch),
        checkpoint=Checkpoint(tmp_path / "training.safetensors"),
    )
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


def test_predictions_do_not_depend_on_the_batch_and_lists_are_joined():
    model = _model().eval()
    torch.testing.assert_close(
        predict(model, X, batch_size=7, device="cpu", precision="fp32"),
        predict(model, X, batch_size=40, device="cpu", precision="fp32"),
    )
    assert predict(lambda x: x[:, 0].tolist(), X, batch_size=7, device="cpu", precision="fp32") == X[:, 0].tolist()
    assert predict(model, X, device="cpu", precision="bf16").dtype == torch.float32


def test_a_damaged_checkpoint_is_a_sentence(tmp_path):
    checkpoint = Checkpoint(tmp_path / "training.safetensors")
    _fit(_model(), epochs=1, checkpoint=checkpoint)
    whole = checkpoint.path.read_bytes()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2]):
        checkpoint.path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"training.safetensors: checkpoint cannot be read .*Delete it and run"):
            _fit(_model(), epochs=2, checkpoint=checkpoint)
    checkpoint.path.write_bytes(whole)
    with pytest.raises(InputError, match="checkpoint cannot be read"):
        _fit(nn.Linear(3, 2), epochs=2, checkpoint=checkpoint)


class Small(nn.Module):
    """A network in whose memory there is room for ``room`` samples; no statistics of batches."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.linear, self.room = nn.Linear(3, 2), room
        nn.init.zeros_(self.linear.weight), nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.linear(x)


def test_out_of_memory_halves_the_batch_says_so_and_trains_the_same():
    large, small = Small(100), Small(3)
    _fit(large)
    with pytest.warns(MemoryWarning, match="out of memory with 8 samples at once: computed in parts of"):
        history = _fit(small)
    assert history.parts == 4
    torch.testing.assert_close(small.linear.weight, large.linear.weight)
    with pytest.warns(MemoryWarning):
        torch.testing.assert_close(
            predict(small, X, batch_size=16, device="cpu", precision="fp32"),
            predict(large, X, batch_size=16, device="cpu", precision="fp32"),
        )


def test_where_nothing_fits_it_is_a_sentence_and_other_errors_pass():
    with pytest.warns(MemoryWarning), pytest.raises(InputError, match="out of memory even with two samples at once"):
        _fit(Small(1))
    with pytest.warns(MemoryWarning), pytest.raises(InputError, match="out of memory even with one sample at once"):
        predict(Small(0), X[:4], device="cpu", precision="fp32")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        predict(nn.Linear(7, 1), X, device="cpu", precision="fp32")


def test_what_the_allocators_say_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value) and is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_training_steps_may_be_compiled_and_evaluation_is_not(monkeypatch):
    calls = []

    def compiled(call, **options):
        calls.append(options)
        return lambda *inputs: (calls.append(model.training), call(*inputs))[1]

    monkeypatch.setattr(torch, "compile", compiled)
    plain, model = _model(), _model()
    _fit(plain, epochs=2)
    monkeypatch.setenv("CAG_COMPILE", "reduce-overhead")
    _fit(model, epochs=2, on_epoch=lambda epoch, network: [network(X), None][1])
    assert calls == [{"mode": "reduce-overhead", "dynamic": False}] + [True] * 10
    assert torch.equal(plain[0].weight, model[0].weight)
    monkeypatch.setenv("CAG_COMPILE", "fast")
    with pytest.raises(SettingsError, match="CAG_COMPILE: 'fast' is no way to compile"):
        _fit(_model())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_named():
    with pytest.raises(SettingsError, match="device: no CUDA device here"):
        Runtime.choose("cuda")


def test_precision_is_as_asked():
    assert Runtime.choose("cpu", "fp32").dtype == torch.float32
    assert Runtime.choose("cpu", "bf16").dtype == torch.bfloat16
    assert Runtime.choose("cpu", "auto").dtype in (torch.float32, torch.bfloat16)
