"""Maps sum to their logit, also when their shares are spread."""

import numpy as np
import pytest

from seqscan.errors import ShapeMismatch
from seqscan.residues.maps import ActivationMap, spread_evenly


def test_map_sums_to_its_logit():
    found = ActivationMap("a", 3, "MKV", np.array([0.5, -0.25, 1.0], np.float32), 0.125)
    assert found.logit == 1.375
    with pytest.raises(ShapeMismatch, match="2 residues"):
        ActivationMap("a", 3, "MK", np.zeros(3, np.float32), 0.0)


def test_a_share_is_spread_by_a_bell_curve_that_ends_with_the_protein():
    shares = np.zeros(100, np.float32)
    shares[[0, 60]] = 1.0
    spread = ActivationMap("a", 0, "M" * 100, shares, 0.0).spread(5.0).contributions
    curve = np.exp(-0.5 * (np.arange(100) / 5.0) ** 2)
    curve[16:] = 0.0  # three standard deviations
    middle = np.concatenate([curve[15:0:-1], curve[:16]])
    np.testing.assert_allclose(spread[:40], (curve / curve.sum())[:40], atol=1e-6)
    np.testing.assert_allclose(spread[45:76], middle / middle.sum(), atol=1e-6)


def test_proteins_that_are_spread_together_share_nothing():
    generator = np.random.default_rng(0)
    lengths = np.array([5, 1, 40, 2])
    parts = [generator.normal(size=(n, 2)).astype(np.float32) for n in lengths]
    together = spread_evenly(np.concatenate(parts), 3, lengths)
    np.testing.assert_allclose(
        together, np.concatenate([spread_evenly(part, 3) for part in parts]), atol=1e-6
    )
