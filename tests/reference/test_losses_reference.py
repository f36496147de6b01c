"""The losses against slow loops that follow the papers' formulas letter by letter."""

import math

import numpy as np
import pytest
import torch

from seqscan.losses import contrastive_loss, masked_residue_loss, prototype_loss, scan_loss


def softmax(row):
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def scan_loops(anchors, neighbors, entropy_weight):
    """Eq. 2 of arXiv 2005.12320."""
    n, n_clusters = anchors.shape
    consistency = 0.0
    mean = [0.0] * n_clusters
    for i in range(n):
        p, q = softmax(anchors[i]), softmax(neighbors[i])
        inner = sum(p[c] * q[c] for c in range(n_clusters))
        consistency -= math.log(inner) / n
        for c in range(n_clusters):
            mean[c] += p[c] / n
    entropy = -sum(share * math.log(share) for share in mean)
    return consistency - entropy_weight * entropy, consistency, entropy


def contrastive_loops(left, right, temperature):
    """Eq. 1 of arXiv 2002.05709."""
    n = len(left)
    vectors = [*left, *right]
    losses = []
    for i in range(2 * n):
        positive = (i + n) % (2 * n)
        similarity = {}
        for j in range(2 * n):
            if j == i:
                continue
            cosine = np.dot(vectors[i], vectors[j]) / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])
            similarity[j] = cosine / temperature
        losses.append(math.log(sum(math.exp(s) for s in similarity.values())) - similarity[positive])
    return sum(losses) / len(losses)


def gradient_by_differences(function, array, step=1e-5):
    gradient = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        up, down = array.copy(), array.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient


@pytest.mark.parametrize("shape", [(1, 2), (5, 3), (12, 7)])
@pytest.mark.parametrize("entropy_weight", [0.0, 1.0, 5.0])
def test_scan_loss(shape, entropy_weight):
    generator = np.random.default_rng(0)
    anchors, neighbors = generator.normal(size=(2, *shape)) * 2.0
    a = torch.tensor(anchors, dtype=torch.float32, requires_grad=True)
    b = torch.tensor(neighbors, dtype=torch.float32, requires_grad=True)
    loss = scan_loss(a, b, entropy_weight=entropy_weight)
    expected = scan_loops(anchors, neighbors, entropy_weight)
    assert [term.item() for term in loss] == pytest.approx(expected, abs=1e-5)
    loss.total.backward()
    of_anchors = gradient_by_differences(lambda x: scan_loops(x, neighbors, entropy_weight)[0], anchors)
    of_neighbors = gradient_by_differences(lambda x: scan_loops(anchors, x, entropy_weight)[0], neighbors)
    np.testing.assert_allclose(a.grad.numpy(), of_anchors, atol=1e-5)
    np.testing.assert_allclose(b.grad.numpy(), of_neighbors, atol=1e-5)


@pytest.mark.parametrize("n", [2, 6])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_contrastive_loss(n, temperature):
    generator = np.random.default_rng(1)
    left, right = generator.normal(size=(2, n, 4))
    a = torch.tensor(left, dtype=torch.float32, requires_grad=True)
    b = torch.tensor(right, dtype=torch.float32, requires_grad=True)
    loss = contrastive_loss(a, b, temperature=temperature)
    assert loss.item() == pytest.approx(contrastive_loops(left, right, temperature), abs=1e-4)
    loss.backward()
    expected = gradient_by_differences(lambda x: contrastive_loops(x, right, temperature), left)
    np.testing.assert_allclose(a.grad.numpy(), expected, atol=1e-4)
    expected = gradient_by_differences(lambda x: contrastive_loops(left, x, temperature), right)
    np.testing.assert_allclose(b.grad.numpy(), expected, atol=1e-4)


def test_masked_residue_loss():
    generator = np.random.default_rng(2)
    logits, codes = generator.normal(size=(9, 21)), generator.integers(1, 21, 9)
    expected = -sum(math.log(softmax(row)[code]) for row, code in zip(logits, codes, strict=True)) / 9
    found = masked_residue_loss(torch.tensor(logits, dtype=torch.float32), torch.from_numpy(codes))
    assert float(found) == pytest.approx(expected, abs=1e-5)


def prototype_loops(vectors, prototypes, labels, temperature, margin, ignored):
    """Cross-entropy of cosines, the own one less a margin, over the classes that are told apart."""
    losses = []
    for vector, label, left_out in zip(vectors, labels, ignored, strict=True):
        if label < 0:
            continue
        powers = []
        for c, prototype in enumerate(prototypes):
            cosine = np.dot(vector, prototype) / np.linalg.norm(vector) / np.linalg.norm(prototype)
            cosine -= margin if c == label else 0.0
            powers.append(0.0 if left_out[c] else math.exp(cosine / temperature))
        losses.append(-math.log(powers[label] / sum(powers)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_prototype_loss(margin):
    generator = np.random.default_rng(3)
    vectors, prototypes = generator.normal(size=(6, 4)), generator.normal(size=(5, 4))
    labels = np.array([0, 3, -1, 4, 4, 1])
    ignored = generator.random((6, 5)) < 0.3
    ignored[np.arange(6), labels] = False

    def reference(vectors, prototypes):
        return prototype_loops(vectors, prototypes, labels, 0.2, margin, ignored)

    a, b = (torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in (vectors, prototypes))
    loss = prototype_loss(
        a, b, torch.from_numpy(labels), temperature=0.2, margin=margin, ignored=torch.from_numpy(ignored)
    )
    assert loss.item() == pytest.approx(reference(vectors, prototypes), abs=1e-4)
    loss.backward()
    expected = gradient_by_differences(lambda x: reference(x, prototypes), vectors)
    np.testing.assert_allclose(a.grad.numpy(), expected, atol=1e-4)
    expected = gradient_by_differences(lambda x: reference(vectors, x), prototypes)
    np.testing.assert_allclose(b.grad.numpy(), expected, atol=1e-4)
