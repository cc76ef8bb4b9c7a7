"""The classifier's heads and the paper's class balance."""

import pytest
import torch

from cag.networks.classifier import AttentionHead, StenosisClassifier, balanced_order
from cag.settings import InputError


@pytest.mark.parametrize("head", ["published", "plain"])
def test_batched_equals_single_and_maps_may_be_computed_once(tiny_trunk, images, head):
    model = StenosisClassifier(tiny_trunk, 3, head=head, trainable="head").eval()
    logits = model(images)
    torch.testing.assert_close(logits[1:2], model(images[1:2]))
    torch.testing.assert_close(logits, model.head(model.maps(images)))


@pytest.mark.parametrize(("trainable", "trained"), [("all", True), ("head", False)])
def test_a_frozen_trunk_gets_no_gradient_and_keeps_its_statistics(tiny_trunk, images, trainable, trained):
    model, mean = StenosisClassifier(tiny_trunk, 2, trainable=trainable).train(), tiny_trunk.norm.running_mean.clone()
    model(images).square().sum().backward()
    assert (tiny_trunk.blocks[0].weight.grad is not None) == trained
    assert torch.equal(tiny_trunk.norm.running_mean, mean) != trained
    assert all(parameter.grad is not None for parameter in model.head.parameters())


def test_even_attention_is_plain_averaging():
    head = AttentionHead(4, 2).eval()
    torch.nn.init.zeros_(head.attention[7].weight)
    maps = torch.randn(2, 4, 3, 3)
    expected = head.classifier(head.norm(maps).mean(dim=(2, 3)))
    torch.testing.assert_close(head(maps), expected)


def test_each_class_is_drawn_to_the_paper_s_share():
    targets = torch.tensor([0] * 30 + [1] * 10 + [2] * 100)  # 40 real frames in two classes, 100 redundant
    drawn = balanced_order(targets, torch.Generator().manual_seed(0), n_categories=2)
    assert torch.bincount(targets[drawn]).tolist() == [20, 20, 20]
    assert targets[drawn][:20].unique().numel() > 1  # shuffled


def test_an_absent_class_is_left_out_and_no_real_frame_is_refused():
    drawn = balanced_order(torch.tensor([0, 0, 2, 2]), torch.Generator(), n_categories=3)
    assert len(drawn) == 2
    with pytest.raises(InputError, match="no frame of any severity category"):
        balanced_order(torch.tensor([2, 2]), torch.Generator(), n_categories=2)
