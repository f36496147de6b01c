"""How much each residue speaks for a protein's cluster: an exact split of the logit.

The logit is `w . z / (|w| |z| temperature)`, `z` an affine map of `x`, and `x` one of a weighted sum over the
residues. So, for a protein of given length of `z`, each residue's share is known without gradients
or approximation, and the shares and one bias sum to the logit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from seqscan.alphabet import AMINO
from seqscan.errors import InvalidParameter
from seqscan.fasta import Record
from seqscan.model import Model, record_blocks
from seqscan.results import ActivationMap
from seqscan.store import unit

__all__ = ["explain"]


def explain(
    model: Model, records: Iterable[Record], *, cluster: int | None = None, max_residues: int = 8_192
) -> Iterator[ActivationMap]:
    """Yield the residue map of each record, in the order of the input.

    Parameters
    ----------
    model : Model
    records : iterable of Record
    cluster : int, optional
        Which cluster's logit to split; by default each protein's own.
    max_residues : int, residues
        Size of a batch.

    Raises
    ------
    InvalidParameter
        If the model has no such cluster.

    Notes
    -----
    The idea is Zhou et al., CVPR 2016 (arXiv 1512.04150).
    """
    head = model.head
    if cluster is not None and not 0 <= cluster < head.n_clusters:
        raise InvalidParameter("cluster", cluster, f"the model's clusters are 0 to {head.n_clusters - 1}")
    directions = unit(head.prototypes) @ head.projection.T / head.temperature
    weight = model.encoder.project.weight.detach().cpu().double()
    bias = model.encoder.project.bias.detach().cpu().double().numpy() - head.center
    for block in record_blocks(records):
        codes = [AMINO.encode(record.sequence) for record in block]
        maps: list[ActivationMap | None] = [None] * len(block)
        for rows, output, mask in model.encoder.encode(codes, max_residues=max_residues):
            pooled = output.pooled.float().cpu().numpy()
            own = head.logits(pooled).argmax(axis=1)
            chosen = own if cluster is None else np.full(len(rows), cluster)
            norms = np.linalg.norm((pooled - head.center) @ head.projection, axis=1)
            toward = directions[chosen] / np.maximum(norms, 1e-12)[:, None]
            features = (torch.from_numpy(toward).double() @ weight).float().to(output.residues.device)
            shares = torch.einsum("bld,bld,bd->bl", output.weights, output.residues.float(), features)
            values = shares.cpu().numpy()
            biases = (toward * bias).sum(axis=1)
            lengths = mask.sum(dim=1).tolist()
            for line, row in enumerate(rows):
                record = block[int(row)]
                maps[int(row)] = ActivationMap(
                    record.id,
                    int(chosen[line]),
                    record.sequence,
                    values[line, : lengths[line]].astype(np.float32),
                    float(biases[line]),
                )
        yield from (item for item in maps if item is not None)
