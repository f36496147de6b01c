"""How much each residue speaks for a protein's cluster: an exact split of the logit.

The logit is `w . z / (|w| |z| temperature)`, `z` an affine map of `x`, and `x` one of a weighted mean over
the residues. So, for a protein of given length of `z`, each residue's share is known without gradients or
approximation. Residue vectors are taken relative to a reference whose protein would lie at the center of the
training vectors, where every logit is zero: what is everywhere says nothing, and the shares sum to the
logit. A residue vector is computed from the residues around it, so its share is spread evenly over those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.errors import InvalidParameter
from seqscan.fasta import Record
from seqscan.model import Model, record_blocks
from seqscan.residues.maps import ActivationMap, spread_evenly
from seqscan.store import unit

__all__ = ["explain"]


def explain(
    model: Model,
    records: Iterable[Record],
    *,
    cluster: int | None = None,
    against_runner_up: bool = False,
    max_residues: int = 16_384,
) -> Iterator[ActivationMap]:
    """Yield the residue map of each record, in the order of the input.

    Parameters
    ----------
    model : Model
    records : iterable of Record
    cluster : int, optional
        Which cluster's logit to split; by default each protein's own.
    against_runner_up : bool
        Split the lead over the best other cluster too.
    max_residues : int, residues
        Size of a batch.

    Raises
    ------
    InvalidParameter
        If the model has no such cluster, or no second one to compare with.

    Notes
    -----
    These maps are as sharp as the encoder allows; `ActivationMap.spread` makes them easier to read.
    The idea is Zhou et al., CVPR 2016 (arXiv 1512.04150).
    """
    head = model.head
    if cluster is not None and not 0 <= cluster < head.n_clusters:
        raise InvalidParameter("cluster", cluster, f"the model's clusters are 0 to {head.n_clusters - 1}")
    if against_runner_up and head.n_clusters < 2:
        raise InvalidParameter("against_runner_up", True, "the model has one cluster: there is no runner-up")
    toward = unit(head.prototypes) @ head.projection.T / head.temperature
    weight, bias = (
        x.detach().cpu().double() for x in (model.encoder.project.weight, model.encoder.project.bias)
    )
    offset = torch.from_numpy(head.center).double() - bias
    reference = torch.linalg.lstsq(weight, offset[:, None]).solution[:, 0]
    # Zero, to rounding, unless the affine map cannot reach the center.
    rest = toward @ (weight @ reference - offset).numpy()
    directions = torch.from_numpy(toward @ weight.numpy()).float()

    def choose(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        logits = head.logits(vectors)
        first = logits.argmax(axis=1) if cluster is None else np.full(len(vectors), cluster)
        if not against_runner_up:
            return first[:, None]
        np.put_along_axis(logits, first[:, None], -np.inf, axis=1)
        return np.stack([first, logits.argmax(axis=1)], axis=1)

    for block in record_blocks(records):
        codes = [AMINO.encode(record.sequence) for record in block]
        maps: list[ActivationMap | None] = [None] * len(block)
        for rows, vectors, chosen, terms in model.encoder.residue_terms(
            codes, directions, reference.float(), choose, max_residues=max_residues
        ):
            norms = np.maximum(np.linalg.norm((vectors - head.center) @ head.projection, axis=1), 1e-12)
            biases = rest[chosen] / norms[:, None]
            lengths = np.array([len(codes[row]) for row in rows])
            inside = np.arange(terms.shape[1]) < lengths[:, None]
            spread = spread_evenly((terms / norms[:, None, None])[inside], model.encoder.reach, lengths)
            columns = (rows.tolist(), chosen.tolist(), biases.tolist())
            shares = np.split(spread, lengths.cumsum()[:-1])
            for row, labels, left, own in zip(*columns, shares, strict=True):
                compared: dict[str, Any] = (
                    {
                        "runner_up": labels[1],
                        "lead": own[:, 0] - own[:, 1],
                        "lead_bias": left[0] - left[1],
                    }
                    if against_runner_up
                    else {}
                )
                maps[row] = ActivationMap(
                    block[row].id, labels[0], block[row].sequence, own[:, 0], left[0], **compared
                )
        yield from (item for item in maps if item is not None)
