"""Settings of every test, and inputs small enough to train on in a moment."""

import os
import sys
import tempfile

# Before NumPy, torch and faiss are loaded. The arrays are tiny: threads only wait for each other, on a busy
# machine for long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def scratch(tmp_path_factory):
    """Keep what killed programs leave behind in the folder of the test run, which pytest clears."""
    folder = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)  # read from the environment again
        yield


@pytest.fixture
def tiny_encoder():
    """An untrained encoder of 8 features and dimensions, always the same."""
    import torch

    from seqscan.encoder import ConvEncoder, ConvEncoderConfig

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return ConvEncoder(ConvEncoderConfig(width=8, n_features=16, n_dimensions=8)).eval()


@pytest.fixture
def family_records():
    """Records of three families of 12: a random ancestor each, every tenth residue of a member changed."""
    from seqscan.alphabet import AMINO
    from seqscan.fasta import Record

    generator = np.random.default_rng(0)
    records = []
    for family in range(3):
        ancestor = generator.integers(1, 21, 60).astype(np.uint8)
        for member in range(12):
            codes = ancestor.copy()
            places = generator.choice(60, 6, replace=False)
            codes[places] = generator.integers(1, 21, 6)
            records.append(Record(f"f{family}m{member}", f"family {family}", AMINO.decode(codes)))
    return records


@pytest.fixture
def seqscan(monkeypatch, capsys):
    """Run a command in this process; return its exit code, standard output and standard error."""
    from seqscan import cli

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["seqscan", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
