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

from seqscan.alphabet import AMINO
from seqscan.errors import InvalidParameter
from seqscan.fasta import Record
from seqscan.model import Model, record_blocks
from seqscan.results import ActivationMap, spread_evenly
from seqscan.store import unit

__all__ = ["explain"]


def explain(
    model: Model,
    records: Iterable[Record],
    *,
    cluster: int | None = None,
    against_runner_up: bool = False,
    max_residues: int = 8_192,
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
    directions = unit(head.prototypes) @ head.projection.T / head.temperature
    weight = model.encoder.project.weight.detach().cpu().double()
    offset = head.center - model.encoder.project.bias.detach().cpu().double().numpy()
    reference = np.linalg.lstsq(weight.numpy(), offset, rcond=None)[0]
    # Zero, to rounding, unless the affine map cannot reach the center.
    rest = weight.numpy() @ reference - offset
    center = torch.from_numpy(reference).float().to(model.encoder.project.weight.device)
    for block in record_blocks(records):
        codes = [AMINO.encode(record.sequence) for record in block]
        maps: list[ActivationMap | None] = [None] * len(block)
        for rows, vectors, pieces in model.encoder.encode_pieces(codes, max_residues=max_residues):
            pooled = vectors.float().cpu().numpy()
            logits = head.logits(pooled)
            chosen = logits.argmax(axis=1) if cluster is None else np.full(len(rows), cluster)
            norms = np.maximum(np.linalg.norm((pooled - head.center) @ head.projection, axis=1), 1e-12)
            toward = [directions[chosen] / norms[:, None]]
            if against_runner_up:
                np.put_along_axis(logits, chosen[:, None], -np.inf, axis=1)
                second = logits.argmax(axis=1)
                toward.append(toward[0] - directions[second] / norms[:, None])
            wanted = np.stack(toward, axis=2)  # (B, P, 1 or 2)
            features = torch.einsum("bpk,pd->bdk", torch.from_numpy(wanted).double(), weight).float()
            features = features.to(vectors.device)
            shares = [
                ((weights * (residues.float() - center)) @ features).cpu().numpy()
                for residues, weights in pieces
            ]
            values = np.concatenate(shares, axis=1).astype(np.float32, copy=False)
            biases = np.einsum("bpk,p->bk", wanted, rest)
            for line, row in enumerate(rows):
                record = block[int(row)]
                own = spread_evenly(values[line, : len(record)], model.encoder.reach)
                compared: dict[str, Any] = (
                    {"runner_up": int(second[line]), "lead": own[:, 1], "lead_bias": float(biases[line, 1])}
                    if against_runner_up
                    else {}
                )
                maps[int(row)] = ActivationMap(
                    record.id,
                    int(chosen[line]),
                    record.sequence,
                    own[:, 0],
                    float(biases[line, 0]),
                    **compared,
                )
        yield from (item for item in maps if item is not None)
