"""Losses at their known points."""

import math

import pytest
import torch

from seqscan.errors import ShapeMismatch
from seqscan.losses import (
    contrastive_loss,
    masked_residue_loss,
    prototype_loss,
    scan_loss,
    self_label_loss,
)

SURE = torch.eye(4) * 40.0


def test_perfect_agreement_over_all_clusters():
    loss = scan_loss(SURE, SURE, entropy_weight=2.0)
    assert float(loss.consistency) == pytest.approx(0.0, abs=1e-6)
    assert float(loss.entropy) == pytest.approx(math.log(4), abs=1e-6)
    assert float(loss.total) == pytest.approx(-2.0 * math.log(4), abs=1e-5)


def test_collapse_has_no_entropy():
    collapsed = SURE[:1].repeat(4, 1)
    assert float(scan_loss(collapsed, collapsed, entropy_weight=1.0).entropy) == pytest.approx(0.0, abs=1e-6)


def test_confident_contradiction_is_large_and_finite():
    anchors = torch.tensor([[1e4, 0.0]], requires_grad=True)
    loss = scan_loss(anchors, torch.tensor([[0.0, 1e4]]), entropy_weight=1.0)
    loss.total.backward()
    assert 1e3 < loss.consistency.item() < math.inf
    assert torch.isfinite(anchors.grad).all()


def test_splitting_a_homogeneous_cluster_is_neutral_at_weight_1():
    whole, split = torch.tensor([[40.0, 0.0]] * 4), torch.zeros(4, 2)
    at = {
        weight: [float(scan_loss(p, p, entropy_weight=weight).total) for p in (whole, split)]
        for weight in (0.5, 1.0, 2.0)
    }
    assert at[1.0][0] == pytest.approx(at[1.0][1], abs=1e-5)
    assert at[0.5][0] < at[0.5][1]
    assert at[2.0][0] > at[2.0][1]


def test_mean_may_come_from_elsewhere():
    shares = torch.tensor([0.5, 0.25, 0.25, 0.0])
    loss = scan_loss(SURE, SURE, entropy_weight=1.0, mean=lambda probabilities: shares)
    assert float(loss.entropy) == pytest.approx(1.5 * math.log(2), abs=1e-6)


@pytest.mark.parametrize(("left", "right"), [((2, 3), (2, 4)), ((2, 1), (2, 1)), ((3,), (3,))])
def test_scan_shapes(left, right):
    with pytest.raises(ShapeMismatch):
        scan_loss(torch.zeros(left), torch.zeros(right), entropy_weight=1.0)


def test_self_label():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [9.0, 9.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, -1])
    a, b = math.log1p(math.exp(-2)), math.log1p(math.exp(-1))
    assert self_label_loss(logits, labels, balance=False).item() == pytest.approx((2 * a + b) / 3)
    assert self_label_loss(logits, labels).item() == pytest.approx((a + b) / 2)
    self_label_loss(logits, labels).backward()
    assert not logits.grad[3].any()


def test_self_label_without_a_label():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = self_label_loss(logits, torch.tensor([-1, -1]))
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


def test_contrast_of_equal_views_is_small_and_of_chance_is_log():
    vectors = torch.eye(8)
    assert float(contrastive_loss(vectors, vectors, temperature=0.05)) < 1e-6
    same = torch.ones(8, 4)
    assert float(contrastive_loss(same, same, temperature=0.05)) == pytest.approx(math.log(15), abs=1e-5)


def test_contrast_does_not_see_lengths():
    torch.manual_seed(0)
    left, right = torch.randn(5, 4), torch.randn(5, 4)
    losses = [float(contrastive_loss(scale * left, right, temperature=0.1)) for scale in (1.0, 100.0)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_known_relatives_are_no_negatives():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(4, 5, generator=generator) for _ in range(2))

    def loss(*groups):
        return float(contrastive_loss(left, right, temperature=0.2, groups=torch.tensor(groups)))

    plain = float(contrastive_loss(left, right, temperature=0.2))
    assert loss(0, 1, 2, 3) == pytest.approx(plain)
    assert 0 < loss(0, 1, 0, 3) < plain
    assert loss(0, 0, 0, 0) == pytest.approx(0.0, abs=1e-6)


def test_views_without_a_class_do_not_count():
    vectors = torch.randn(3, 4, requires_grad=True)
    loss = prototype_loss(vectors, torch.randn(5, 4), torch.full((3,), -1), temperature=0.1)
    loss.backward()
    assert loss.item() == 0.0
    with pytest.raises(ShapeMismatch):
        prototype_loss(vectors, torch.zeros(5, 3), torch.zeros(3, dtype=torch.int64), temperature=0.1)


def test_contrast_shapes():
    with pytest.raises(ShapeMismatch):
        contrastive_loss(torch.zeros(2, 3), torch.zeros(3, 3), temperature=0.1)


def test_masked_residues():
    assert float(masked_residue_loss(torch.zeros(5, 21), torch.arange(5))) == pytest.approx(math.log(21))
    nothing = torch.zeros(0, 21, requires_grad=True)
    loss = masked_residue_loss(nothing, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0
