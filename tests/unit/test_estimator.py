"""The two estimators: scikit-learn's contract, and proteins in, clusters out."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from seqscan.estimator import SCANClusterer


@parametrize_with_checks([SCANClusterer(n_clusters=3, n_heads=2, n_steps=20)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)
