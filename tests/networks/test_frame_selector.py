"""Frame selection: resampling and back, soft F1 by hand, interval rules, sequence networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cag.networks.frame_selector import (
    FrameClassifier,
    IntervalLSTM,
    TemporalConvolution,
    interval_from_probabilities,
    resample_indices,
    soft_f1_loss,
    spread_to_frames,
)
from cag.settings import InputError


def test_resampling_takes_the_nearest_lower_frame():
    assert resample_indices(5, steps=10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert resample_indices(10, steps=4).tolist() == [0, 2, 5, 7]
    assert resample_indices(64).tolist() == list(range(64))
    with pytest.raises(InputError, match="run of 0 frames"):
        resample_indices(0)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 15, 63, 64, 65, 100, 127, 128, 129, 200, 257, 300])
def test_a_known_interval_comes_back(n):
    """Exactly up to 64 frames, then within half the sampling distance and without bias."""
    allowed = 0 if n <= 64 else -(-n // 64) // 2
    errors = []
    for begin in range(0, n, max(1, n // 23)):
        for end in range(begin, n, max(1, n // 19)):
            truth = np.zeros(n)
            truth[begin : end + 1] = 1
            steps = truth[resample_indices(n)]
            if n > 64 and (end - begin + 1 < 2 * n / 64 or end >= resample_indices(n)[-1]):
                continue  # shorter than what resampling sees, or cut by the end of the run
            found = interval_from_probabilities(spread_to_frames(steps, n), "last_positive")
            errors.append((found[0] - begin, found[1] - end))
    errors = np.array(errors)
    assert np.abs(errors).max(initial=0) <= allowed
    if n > 64:
        assert np.abs(errors.mean(axis=0)).max() <= 0.75


def test_values_reach_every_frame_in_order():
    for n in (1, 3, 64, 65, 300):
        values = spread_to_frames(np.linspace(0, 1, 64), n)
        assert values.shape == (n,)
        assert (np.diff(values) >= 0).all()


def test_soft_f1_by_hand():
    probability = torch.tensor([[0.8, 0.6, 0.1, 0.5], [0.9, 0.9, 0.9, 0.9]])
    truth = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    # 2 * 1.4 / (2.0 + 2) = .7 and 2 * 3.6 / (3.6 + 4) = .947
    expected = 1 - (0.7 + 7.2 / 7.6) / 2
    assert soft_f1_loss(probability.logit(), truth, smooth=0).item() == pytest.approx(expected, abs=1e-6)


def test_soft_f1_of_runs_without_contrast():
    logits = torch.zeros(1, 4, requires_grad=True)
    assert soft_f1_loss(logits, torch.zeros(1, 4), smooth=0).item() == pytest.approx(1)
    loss = soft_f1_loss(logits, torch.zeros(1, 4), smooth=1)
    assert loss.item() == pytest.approx(1 - 1 / 3)
    loss.backward()
    assert (logits.grad > 0).all()  # silence is better


def test_interval_rules_on_a_known_curve():
    curve = np.array([0.1, 0.9, 0.2, 0.2, 0.2, 0.7, 0.9, 0.4, 0.9, 0.8, 0.1, 0.6, 0.1])
    assert interval_from_probabilities(curve, "last_positive") == (1, 11)
    assert interval_from_probabilities(curve, "longest") == (8, 9)  # as long as 5-6, with more mass
    assert interval_from_probabilities(curve, "mass") == (5, 9)  # bridges frame 7
    assert interval_from_probabilities(np.full(5, 0.4)) is None
    assert interval_from_probabilities(np.ones(3)) == (0, 2)
    assert interval_from_probabilities(np.full(3, 0.5), "mass") == (0, 2)
    assert interval_from_probabilities(np.array([0.2, 0.6])) == (1, 1)


@pytest.mark.parametrize("network", [IntervalLSTM, TemporalConvolution])
def test_sequence_networks_answer_each_step_run_by_run(network):
    model = network(features=32).eval()
    features = torch.randn(3, 64, 32)
    logits = model(features)
    assert logits.shape == (3, 64)
    torch.testing.assert_close(logits[:1], model(features[:1]), rtol=1e-4, atol=1e-5)
    model.train()
    soft_f1_loss(model(features), torch.ones(3, 64)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_lstm_has_the_published_shape():
    model = IntervalLSTM()
    assert model.lstm.hidden_size == 256
    assert model.lstm.bidirectional
    assert (model.dense1.in_features, model.dense1.out_features, model.dense2.out_features) == (768, 512, 256)


def test_a_frozen_trunk_gets_no_gradient_and_keeps_its_statistics(tiny_trunk, images):
    model = FrameClassifier(tiny_trunk, trainable="head").train()
    mean = tiny_trunk.norm.running_mean.clone()
    logits = model(images)
    logits.sum().backward()
    assert logits.shape == (3,)
    assert torch.equal(tiny_trunk.norm.running_mean, mean)
    assert model.head.weight.grad is not None
    assert all(parameter.grad is None for parameter in tiny_trunk.parameters())


def test_a_trained_trunk_gets_gradients(tiny_trunk, images):
    model = FrameClassifier(tiny_trunk).train()
    model(images).sum().backward()
    assert tiny_trunk.blocks[0].weight.grad is not None
    assert model.features(images).shape == (3, 16)
