"""Networks that see features scaled by their training samples, and networks that are asked together."""

from __future__ import annotations

import torch

from cag.networks.frame_selector import Averaged, Standardized


def test_members_are_asked_together_by_the_mean_of_their_probabilities() -> None:
    surely, never = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(surely.weight, 0.0)  # probability one half
    torch.nn.init.constant_(never.weight, torch.tensor(0.9).logit().item())
    asked = Averaged([surely, never])(torch.ones(1, 3, 1)).sigmoid()
    assert torch.allclose(asked, torch.full((1, 3, 1), 0.7))


def test_the_network_sees_the_components_in_which_training_samples_differ() -> None:
    along = torch.tensor([3.0, 0.0, 4.0]) / 5
    samples = torch.linspace(-1, 1, 41)[:, None] * along + torch.tensor([0.0, 7.0, 0.0])
    model = Standardized(torch.nn.Identity(), 3, components=1)
    model.learn_scale(samples)
    seen = model(samples)
    assert seen.shape == (41, 1) and torch.allclose(seen.std(), torch.tensor(1.0), atol=1e-5)
    assert torch.allclose(model(samples + torch.tensor([0.0, 9.0, 0.0])), seen, atol=1e-4)
    across = torch.tensor([1.0, 0.0, -1.0]) * model.sd  # in scaled units the component is (1, 0, 1)
    assert torch.allclose(model(samples + across), seen, atol=1e-4)


def test_relative_features_hide_what_stays_the_same() -> None:
    run = torch.randn(3, 16, 4, generator=torch.Generator().manual_seed(0))
    relative = Standardized(torch.nn.Identity(), 4, relative=True)
    relative.learn_scale(run)
    assert torch.allclose(relative(run), relative(run + torch.tensor([5.0, -3.0, 0.0, 9.0])), atol=1e-5)
    plain = Standardized(torch.nn.Identity(), 4)
    plain.learn_scale(run)
    scaled = plain(run).flatten(0, 1)
    assert torch.allclose(scaled.mean(dim=0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(scaled.std(dim=0), torch.ones(4), atol=1e-5)


def test_a_run_that_changes_less_than_any_of_training_is_still() -> None:
    runs = (
        torch.randn(3, 16, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    )
    model = Standardized(torch.nn.Identity(), 4, relative=True)
    model.learn_scale(runs)
    assert model.change(runs).argmin() == 0
    assert not any(model.is_still(run) for run in runs)
    assert model.is_still(runs[0] * 0.9 + 100) and not model.is_still(runs[0] * 1.1 + 100)
    plain = Standardized(torch.nn.Identity(), 4)
    plain.learn_scale(runs)
    assert not plain.is_still(torch.ones(16, 4))
