"""Frame selection: resampling and back, soft F1 by hand, interval rules, sequence networks and their inputs."""

import numpy as np
import pytest
import torch

from cag.networks import frame_selector as fs
from cag.settings import InputError


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
            found = fs.interval_from_probabilities(
                fs.spread_to_frames(truth[fs.resample_indices(n)], n), "last_positive"
            )
            errors.append((found[0] - begin, found[1] - end))
    assert np.abs(errors).max(initial=0) <= allowed
    assert np.abs(np.mean(errors, axis=0)).max() <= 0.75


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


def test_the_frame_classifier_reads_the_mean_of_the_last_map(tiny_trunk, images):
    model = fs.FrameClassifier(tiny_trunk, trainable="head").eval()
    pooled = tiny_trunk(images).mean(dim=(2, 3))
    torch.testing.assert_close(model.features(images), pooled)
    torch.testing.assert_close(model(images), model.head(pooled)[:, 0])


def test_members_are_asked_together_by_the_mean_of_their_probabilities():
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


def test_relative_features_hide_what_stays_the_same():
    run = torch.randn(3, 16, 4)
    relative, plain = standardized(run, relative=True), standardized(run)
    torch.testing.assert_close(relative(run), relative(run + torch.tensor([5.0, -3.0, 0.0, 9.0])), atol=1e-5, rtol=0)
    scaled = plain(run).flatten(0, 1)
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(dim=0), torch.ones(4), atol=1e-5, rtol=0)


def test_a_run_that_changes_less_than_any_of_training_is_still():
    runs = torch.randn(3, 16, 4) * torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    model = standardized(runs, relative=True)
    assert model.change(runs).argmin() == 0
    assert not any(model.is_still(run) for run in runs)
    assert model.is_still(runs[0] * 0.9 + 100) and not model.is_still(runs[0] * 1.1 + 100)
    assert not standardized(runs).is_still(torch.ones(16, 4))
