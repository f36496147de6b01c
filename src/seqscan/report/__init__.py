"""The HTML report: one file that opens offline, from the values in `seqscan.results` alone.

The file asks the network for nothing: its content security policy forbids it, and allows only the style and
the script that this module put in, by their SHA-256. Whatever comes from a FASTA header is untrusted: the
template escapes it, and the script only ever sets it as text.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.artifact import write_atomically
from seqscan.errors import InvalidParameter, ShapeMismatch
from seqscan.fasta import Rejected
from seqscan.offline import content_policy, script_json, script_of, template
from seqscan.report.architecture import Architecture, Part, architecture_rows
from seqscan.results import ActivationMap, Assignments, ClusterSummary, Scores

__all__ = [
    "MAX_POINTS",
    "Architecture",
    "Part",
    "ReportData",
    "compositions",
    "project_to_plane",
    "write_report",
]

MAX_POINTS = 100_000
"""Most proteins the map draws; of more, an even sample is drawn and the report says so."""

N_REJECTED_SHOWN = 100
N_BINS = 24
N_CURVE_POINTS = 240
MAX_DESCRIPTION = 160
RESIDUES = AMINO.symbols[1 : 1 + AMINO.n_residues]
# Like beside like, so a glyph shows at a glance whether a cluster is greasy, polar or charged.
RESIDUE_GROUPS = ("AVILMC", "FWY", "GP", "STNQ", "DE", "KRH")


@dataclass(frozen=True)
class ReportData:
    """All that the report shows.

    Attributes
    ----------
    title, version, command, input_name : str
        Heading, version of seqscan, the command line that was run, and the name of the input.
    n_read : int
        Records read; `assignments` and `n_rejected` should account for all of them, and the report says
        whether they do.
    n_rejected : int
        Records that could not be used.
    rejected : sequence of Rejected
        The first of them; 100 are shown.
    assignments : Assignments
        N proteins.
    descriptions : N str
        The rest of each FASTA header; untrusted.
    positions : (N, 2), float
        Places in the map, see `project_to_plane`.
    lengths : (N,), residues
    clusters : sequence of C ClusterSummary
    composition : (C, 20), fractions
        Of each residue in each cluster, rows as `clusters`, columns as `AMINO.symbols[1:21]`.
    background : (20,), fractions
        Of each residue in the whole input.
    curves : sequence of dict
        Rows of the training logs: `stage` (str), `step`, perhaps `head`, and any number of values by name.
    scores : Scores
    baselines : sequence of dict
        `method`, then for each metric a number, a pair (mean, standard deviation) or a dict of `mean` and
        `sd`. Shown only if `scores.labelled` is not empty.
    maps : sequence of ActivationMap
        Of the clusters' representatives.
    logos : dict of int to str
        An SVG of the consensus for each cluster that has one, see `seqscan.consensus.logo`.
    architectures : sequence of Architecture
        Whole proteins to draw with their domains.
    segments_of : int
        If the records were cut: how many whole proteins there were; `assignments` are then of segments.
    stages : sequence of dict
        `stage`, `seconds`, `peak_memory_mb`, `status`.
    configuration : dict
        Every option that was in force; may be nested.

    Raises
    ------
    ShapeMismatch
        If the arrays do not agree in shape.
    """

    title: str
    version: str
    command: str
    input_name: str
    n_read: int
    n_rejected: int
    assignments: Assignments
    descriptions: Sequence[str]
    positions: NDArray[np.floating]
    lengths: NDArray[np.integer]
    clusters: Sequence[ClusterSummary] = ()
    composition: NDArray[np.floating] = field(default_factory=lambda: np.zeros((0, AMINO.n_residues)))
    background: NDArray[np.floating] = field(default_factory=lambda: np.zeros(AMINO.n_residues))
    rejected: Sequence[Rejected] = ()
    curves: Sequence[Mapping[str, Any]] = ()
    scores: Scores = field(default_factory=Scores)
    baselines: Sequence[Mapping[str, Any]] = ()
    maps: Sequence[ActivationMap] = ()
    logos: Mapping[int, str] = field(default_factory=dict)
    architectures: Sequence[Architecture] = ()
    segments_of: int = 0
    stages: Sequence[Mapping[str, Any]] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.assignments)
        expected: dict[str, tuple[int, ...]] = {
            "positions": (n, 2),
            "lengths": (n,),
            "composition": (len(self.clusters), AMINO.n_residues),
            "background": (AMINO.n_residues,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ShapeMismatch(
                    f"{name} has shape {getattr(self, name).shape}, the report needs {shape}."
                )
        if len(self.descriptions) != n:
            raise ShapeMismatch(f"{len(self.descriptions)} descriptions for {n} proteins.")

    @property
    def n_assigned(self) -> int:
        """Proteins that have a cluster."""
        return int(self.assignments.assigned.sum())

    @property
    def n_unassigned(self) -> int:
        """Proteins that have none."""
        return len(self.assignments) - self.n_assigned


def write_report(data: ReportData, path: str | Path) -> None:
    """Write the report, one self-contained HTML file, atomically.

    Parameters
    ----------
    data : ReportData
    path : path
        Replaced if it exists. Equal data give equal bytes.

    Examples
    --------
    >>> import tempfile
    >>> none = Assignments([], *(np.zeros(0, dtype) for dtype in ("i4", "f4", "i4", "f4")))
    >>> data = ReportData("Empty", "0.1.0", "seqscan run x.fasta", "x.fasta", 0, 0, none, [],
    ...                   np.zeros((0, 2)), np.zeros(0, int))
    >>> target = Path(tempfile.mkdtemp()) / "report.html"
    >>> write_report(data, target)
    >>> target.read_text().splitlines()[0]
    '<!doctype html>'
    """
    html = _render(data)
    with write_atomically(path) as temporary:
        # A lone surrogate in a header must not cost the user the report.
        temporary.write_bytes(html.encode("utf-8", "replace"))


def project_to_plane(
    vectors: NDArray[np.floating], *, random_state: int = 0, n_landmarks: int = 6000
) -> NDArray[np.float32]:
    """Lay vectors out in the plane, so that neighbors stay neighbors.

    Parameters
    ----------
    vectors : (N, D), float
        Compared by direction, as the cluster head does.
    random_state : int
        Draws the landmarks; the result depends on nothing else.
    n_landmarks : int
        Most vectors that t-SNE lays out; each further one is put beside the landmarks nearest to it.

    Returns
    -------
    positions : (N, 2), float32
        Only nearness has a meaning: axes, empty space between groups and their areas have none.

    Raises
    ------
    ShapeMismatch
        If `vectors` is no matrix.
    InvalidParameter
        If `n_landmarks` is below 10.

    Notes
    -----
    t-SNE (van der Maaten, JMLR 2014) begins with the first two principal components, which keeps the layout
    of the whole. It runs in one thread: with more, the order of a sum depends on the number of threads, and a
    seed would not give the same picture on two machines.

    Examples
    --------
    >>> project_to_plane(np.eye(3)).shape
    (3, 2)
    """
    # Imported here so that reading a report's data does not wait a second for scikit-learn.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if vectors.ndim != 2:
        raise ShapeMismatch(f"vectors has shape {vectors.shape}, a matrix (N, D) is needed.")
    if n_landmarks < 10:
        raise InvalidParameter("n_landmarks", n_landmarks, "must be at least 10")
    n = len(vectors)
    generator = np.random.default_rng(random_state)
    chosen = np.sort(generator.permutation(n)[:n_landmarks])
    unit = np.asarray(vectors, dtype=np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    n_components = min(50, len(chosen), unit.shape[1])
    if n < 2 or n_components < 2 or not np.ptp(unit, axis=0).any():
        # Nothing to lay out: a point, or vectors that are all equal.
        return np.stack([np.arange(n), np.zeros(n)], axis=1).astype(np.float32)
    with threadpool_limits(1):
        pca = PCA(n_components, svd_solver="full", random_state=random_state).fit(unit[chosen])
        reduced = pca.transform(unit).astype(np.float32)
        if len(chosen) < 10:
            return np.ascontiguousarray(reduced[:, :2])
        tsne = TSNE(
            perplexity=min(30.0, (len(chosen) - 1) / 3.0),
            init="pca",
            angle=0.6,
            max_iter=500,
            random_state=random_state,
        )
        landmarks = tsne.fit_transform(reduced[chosen]).astype(np.float32)
        positions = np.empty((n, 2), dtype=np.float32)
        positions[chosen] = landmarks
        others = np.setdiff1d(np.arange(n), chosen)
        # Half the usual gap between two landmarks: a cloud, where equal places would hide how many there are.
        gap = 0.5 * math.sqrt(float(np.prod(np.ptp(landmarks, axis=0))) / len(chosen))
        norms = (reduced[chosen] ** 2).sum(axis=1)
        for start in range(0, len(others), 2048):
            rows = others[start : start + 2048]
            distances = norms - 2.0 * reduced[rows] @ reduced[chosen].T
            nearest = np.argpartition(distances, 3, axis=1)[:, :3]
            # The median of three stays with the majority; a mean would fall between two groups.
            positions[rows] = np.median(landmarks[nearest], axis=1)
        positions[others] += gap * generator.standard_normal((len(others), 2), dtype=np.float32)
    return positions


def compositions(
    codes: Iterable[NDArray[np.uint8]], labels: NDArray[np.int32], clusters: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count how frequent each residue is in each cluster and in the whole input.

    Parameters
    ----------
    codes : N arrays of uint8
        Encoded sequences, for instance a `Corpus`; read once.
    labels : (N,), int32
    clusters : C int
        Which clusters, in the order of the rows that are wanted.

    Returns
    -------
    composition : (C, 20), fractions
    background : (20,), fractions

    Examples
    --------
    >>> rows, background = compositions([AMINO.encode("AAC"), AMINO.encode("C")], np.array([0, 1]), [0, 1])
    >>> rows[:, :2].round(2).tolist(), background[:2].tolist()
    ([[0.67, 0.33], [0.0, 1.0]], [0.5, 0.5])
    """
    row_of = {cluster: row for row, cluster in enumerate(clusters)}
    counts = np.zeros((len(clusters), AMINO.n_residues))
    total = np.zeros(AMINO.n_residues)
    for sequence, label in zip(codes, labels.tolist(), strict=True):
        count = np.bincount(sequence, minlength=len(AMINO))[1 : 1 + AMINO.n_residues]
        total += count
        if label in row_of:
            counts[row_of[label]] += count
    return (
        counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0),
        total / max(float(total.sum()), 1.0),
    )


# What the known metrics are called and mean; +1: higher is better, -1: lower, 0: neither.
# In full: `docs/metrics.md`.
_METRICS: dict[str, tuple[str, str, int]] = {
    "n_clusters": ("Clusters in use", "Clusters that hold at least one protein.", 0),
    "n_held_out_edges": ("Held-out neighbor pairs", "Pairs kept out of the training.", 0),
    "held_out_agreement": (
        "Agreement of held-out neighbors",
        "Share of the neighbor pairs kept out of the training whose two proteins lie in one cluster. "
        "Read it beside the agreement by chance: one single cluster would score 1.",
        1,
    ),
    "chance_agreement": ("Agreement by chance", "How often two proteins at random lie in one cluster.", 0),
    "unassigned_share": ("Share unassigned", "Of the proteins, those that fit no cluster.", 0),
    "largest_share": (
        "Share of the largest cluster", "Of the proteins; near 1 the clustering has collapsed.", 0
    ),
    "cluster_entropy_nats": (
        "Entropy of cluster sizes", "Nats; its exponential is the effective number of clusters.", 0
    ),
    "mean_probability": ("Mean probability", "How sure the model is, not how right.", 0),
    "silhouette": (
        "Silhouette", "From −1 to 1: how much nearer a protein is to its own cluster than to the next one.", 1
    ),
    "accuracy": ("Accuracy", "Share of proteins in the one cluster that is matched with their family.", 1),
    "macro_accuracy": ("Macro accuracy", "The same as a mean over families, small ones count as much.", 1),
    "nmi": ("NMI", "Normalized mutual information, 0 to 1; grows with more clusters, even random ones.", 1),
    "ami": ("AMI", "Mutual information corrected for chance; 0 is random, 1 is perfect.", 1),
    "ari": ("ARI", "Agreement on pairs, corrected for chance; ruled by the largest families.", 1),
    "homogeneity": ("Homogeneity", "1 if each cluster holds one family; blind to splitting.", 1),
    "completeness": ("Completeness", "1 if each family lies in one cluster; blind to merging.", 1),
    "v_measure": ("V-measure", "Harmonic mean of the two; the same number as NMI.", 1),
    "pairwise_precision": ("Pair precision", "Of the pairs in one cluster, those of one family.", 1),
    "pairwise_recall": ("Pair recall", "Of the pairs of one family, those in one cluster.", 1),
    "pairwise_f1": ("Pair F1", "Harmonic mean of the two.", 1),
    "bcubed_precision": ("B-cubed precision", "Share of a protein’s cluster that is of its family.", 1),
    "bcubed_recall": ("B-cubed recall", "Share of a protein’s family that is in its cluster.", 1),
    "bcubed_f1": ("B-cubed F1", "Harmonic mean of the two.", 1),
    "purity": ("Purity", "Share of proteins of their cluster’s commonest family; blind to splitting.", 1),
    "aupr_micro": ("AUPR, micro", "Average precision over all pairs of protein and family.", 1),
    "aupr_macro": ("AUPR, macro", "Average precision, a mean over families.", 1),
    "seconds": ("Time, seconds", "", -1),
}  # fmt: skip
# Said in words above the table, not as rows of it.
_COUNTS = {
    "n_scored": "proteins scored",
    "n_families": "families among them",
    "n_without_truth": "proteins without a label",
    "n_truth_unused": "labels without a protein",
}

# The measures that methods are compared by: one of each kind, so that the table fits a page. No times: those
# that cluster our vectors would get the encoder's for nothing.
_COMPARED = ("accuracy", "macro_accuracy", "nmi", "ami", "ari", "bcubed_f1", "purity", "n_clusters")
# What `seqscan.baselines` calls its methods, in words.
_METHODS = {
    "random": "random clusters",
    "kmeans_length": "k-means on length",
    "kmeans_composition": "k-means on composition",
    "leiden_composition": "Leiden on composition",
    "kmeans_2mers": "k-means on 2-mers",
    "kmeans_3mers": "k-means on 3-mers",
    "kmeans_vectors": "k-means on the same vectors",
    "leiden_cpm": "Leiden (CPM) on the same graph",
    "leiden_modularity": "Leiden (modularity), same graph",
    "label_propagation": "label propagation, same graph",
    "mmseqs2": "MMseqs2, default",
    "mmseqs2_sensitive": "MMseqs2, connected components",
}

_TERMS = {
    "consistency": "Disagreement of neighbors; lower is better.",
    "entropy": "How evenly the clusters are used; a fall to 0 is a collapse.",
    "total": "What the training minimizes.",
    "held_out_agreement": "Neighbors kept out of training that share a cluster.",
    "clusters_used": "Clusters that hold at least one protein.",
    "contrastive": "Two views of one protein against all others; lower is better.",
    "masked": "Guessing hidden residues; lower is better.",
    "validation_contrastive": "The same on proteins kept out of training.",
    "validation_masked": "The same on proteins kept out of training.",
    "validation_recall": "How often a held-out homolog is the nearest.",
}
# Columns of a log that say when a row was written, not how well it went.
_NOT_CHARTED = {"stage", "step", "head", "epoch", "seconds", "residues", "residues_per_second", "progress"}


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": lambda value: f"{value:,}",
        "number": _number,
        "percent": _percent,
        "seconds": _duration,
        "signed": _signed,
    }
    return environment


def _render(data: ReportData) -> str:
    style, script = template("report.css"), script_of("report.js")
    palette = _palette()
    drawn = _drawn(data)
    context = {
        "data": data,
        "policy": content_policy(style, script),
        "style": Markup(style),
        "script": Markup(script),
        "payload": Markup(script_json(_payload(data, drawn, palette))),
        "headline": _headline(data),
        "findings": _findings(data),
        "n_drawn": len(drawn),
        "clusters": list(_cluster_rows(data, palette)),
        "residue_groups": RESIDUE_GROUPS,
        "legend_glyph": _glyph_layout(),
        "label_free": _score_rows(data.scores.label_free),
        "labelled": _labelled(data),
        "deciles": _table(data.scores.by_decile),
        "curves": list(_curves(data.curves)),
        "maps": [_map_row(item, palette) for item in data.maps],
        "logos": {label: Markup(logo) for label, logo in data.logos.items()},
        "architectures": architecture_rows(data.architectures, palette),
        "rejected": list(data.rejected[:N_REJECTED_SHOWN]),
        "configuration": list(_flatten(data.configuration)),
    }
    return _environment().from_string(template("report.html.jinja")).render(context)


def _packed(raw: bytes) -> str:
    # Without a time stamp, so that equal data give equal bytes.
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()


def _drawn(data: ReportData) -> NDArray[np.int64]:
    """Rows that the map draws: all, or an even sample that holds every representative."""
    n = len(data.assignments)
    if n <= MAX_POINTS:
        return np.arange(n)
    representatives = {cluster.representative for cluster in data.clusters}
    kept = [row for row, id in enumerate(data.assignments.ids) if id in representatives]
    return np.unique(
        np.concatenate([np.linspace(0, n - 1, MAX_POINTS).astype(np.int64), np.array(kept, np.int64)])
    )


def _payload(data: ReportData, drawn: NDArray[np.int64], palette: Sequence[str]) -> dict[str, Any]:
    """Return what the script draws: typed arrays and strings, compressed."""
    positions = np.nan_to_num(np.asarray(data.positions, dtype=np.float64)[drawn])
    grid = np.zeros((len(drawn), 2))
    if len(drawn):
        low = positions.min(axis=0)
        # One scale for both axes: distances must look as long across as they do upwards.
        scale = max(float(np.ptp(positions, axis=0).max()), 1e-30)
        grid = (positions - low) / scale * 65535.0
    probability = np.clip(np.nan_to_num(data.assignments.probabilities[drawn]) * 255.0, 0, 255)
    numbers = b"".join(
        (
            data.assignments.labels[drawn].astype("<i4").tobytes(),
            grid[:, 0].round().astype("<u2").tobytes(),
            grid[:, 1].round().astype("<u2").tobytes(),
            probability.round().astype("u1").tobytes(),
        )
    )
    texts = [
        [data.assignments.ids[row] for row in drawn.tolist()],
        [_shortened(data.descriptions[row]) for row in drawn.tolist()],
    ]
    return {
        "n": len(drawn),
        "numbers": _packed(numbers),
        "texts": _packed(json.dumps(texts, separators=(",", ":")).encode()),
        "palette": list(palette),
        "maps": [
            {
                "residues": item.residues,
                "contributions": base64.b64encode(item.contributions.astype("<f4").tobytes()).decode(),
            }
            for item in data.maps
        ],
    }


def _shortened(text: str, limit: int = MAX_DESCRIPTION) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _palette(n: int = 60) -> list[str]:
    """Return `n` colours: twelve chosen by eye, then hues a golden angle apart in four lightnesses."""
    colours = ["#3d6fb4", "#e07b39", "#3f9a62", "#c8475a", "#8462b5", "#17a0a8",
               "#b7982a", "#d16fae", "#7a5a43", "#6ba534", "#5b7fd6", "#a33b7d"]  # fmt: skip
    for index in range(len(colours), n):
        lightness = (0.48, 0.70, 0.58, 0.78)[index % 4]
        hue = math.radians((index * 137.508) % 360.0)
        colours.append(_oklch(lightness, 0.115, hue))
    return colours[:n]


def _oklch(lightness: float, chroma: float, hue: float) -> str:
    """Return the sRGB colour of an OKLCH colour (Ottosson, 2020)."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    cone = (
        (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3,
        (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3,
        (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3,
    )
    matrix = (
        (4.0767416621, -3.3077115913, 0.2309699292),
        (-1.2684380046, 2.6097574011, -0.3413193965),
        (-0.0041960863, -0.7034186147, 1.7076147010),
    )
    channels = []
    for row in matrix:
        linear = min(1.0, max(0.0, sum(x * y for x, y in zip(row, cone, strict=True))))
        encoded = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
        channels.append(round(255 * encoded))
    return "#{:02x}{:02x}{:02x}".format(*channels)


def _number(value: object) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return "–" if value is None else str(value)
    if not isinstance(value, (int, float, np.integer, np.floating)):
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return "–"
    if number == round(number) and (isinstance(value, (int, np.integer)) or abs(number) >= 2):
        text = f"{round(number):,}"
    elif number and abs(number) < 0.001:
        text = f"{number:.1e}"
    elif abs(number) >= 1000:
        text = f"{number:,.0f}"
    else:
        text = f"{number:.1f}" if abs(number) >= 100 else f"{number:.3f}"
    return text.replace("-", "−")


def _signed(value: float, form: str = "+.3f") -> str:
    return format(value, form).replace("-", "−")


def _percent(part: float, whole: float = 1.0) -> str:
    share = 100.0 * part / whole if whole else 0.0
    if 0 < share < 1:
        return "under 1 %"
    # "100 %" is said only when nothing is left.
    return f"{min(share, 99.0) if share < 100 else 100:.0f} %"


def _duration(seconds: object) -> str:
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _plural(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _headline(data: ReportData) -> str:
    n = len(data.assignments)
    if not data.n_assigned:
        return f"No clusters were found among {_plural(n, 'protein')}."
    proteins = _plural(data.n_assigned, "protein")
    verb = "falls" if data.n_assigned == 1 else "fall"
    if data.segments_of:
        proteins = f"{_plural(data.n_assigned, 'segment')} of {_plural(data.segments_of, 'protein')}"
    return f"{proteins} {verb} into {_plural(len(data.clusters), 'cluster')}."


def _findings(data: ReportData) -> list[str]:
    """Say in plain words what was found, what was not, and how far to trust it."""
    n = len(data.assignments)
    sentences = []
    if data.n_unassigned:
        share = _percent(data.n_unassigned, n)
        fits = "fits" if data.n_unassigned == 1 else "fit"
        sentences.append(f"{_plural(data.n_unassigned, 'protein')} ({share}) {fits} no cluster well enough.")
    if data.n_rejected:
        sentences.append(
            f"{_plural(data.n_rejected, 'record')} could not be used; the reasons are listed below."
        )
    accounted = (data.segments_of or n) + data.n_rejected
    missing = data.n_read - accounted
    if missing:
        sentences.append(
            f"Warning: of {_plural(data.n_read, 'record')} read, {accounted:,} are accounted for."
        )
    else:
        sentences.append("Every record that was read is accounted for.")
    sizes = sorted((cluster.size for cluster in data.clusters), reverse=True)
    if len(sizes) > 1:
        share = _percent(sizes[0], data.n_assigned)
        sentences.append(
            f"Cluster sizes run from {sizes[-1]:,} to {sizes[0]:,} (the largest holds {share}); "
            f"the median is {_number(round(float(np.median(sizes))))}."
        )
    elif len(sizes) == 1:
        sentences.append(
            "A single cluster says nothing about how the proteins differ: the input may hold one family, "
            "or the training may have collapsed."
        )
    if data.n_assigned:
        unsure = int((data.assignments.probabilities[data.assignments.assigned] < 0.5).sum())
        if unsure:
            share = _percent(unsure, data.n_assigned)
            sentences.append(f"{_plural(unsure, 'assignment')} ({share}) have a probability below 0.5.")
    return sentences


def _cluster_rows(data: ReportData, palette: Sequence[str]) -> Iterator[dict[str, Any]]:
    row_of = {id: row for row, id in enumerate(data.assignments.ids)}
    mapped = {(item.id, item.label): index for index, item in reversed(list(enumerate(data.maps)))}
    labels, lengths = data.assignments.labels, np.asarray(data.lengths)
    # The longest hundredth share the last bar, or they would flatten all the others.
    longest = float(np.quantile(lengths, 0.99)) if len(lengths) else 1.0
    edges = np.linspace(0.0, max(longest, 1.0), N_BINS + 1)
    members = np.argsort(labels, kind="stable")
    ranked = labels[members]
    largest = max((cluster.size for cluster in data.clusters), default=1)
    for index, cluster in enumerate(data.clusters):
        start, end = np.searchsorted(ranked, [cluster.cluster, cluster.cluster + 1])
        counts, _ = np.histogram(np.minimum(lengths[members[start:end]], edges[-1]), edges)
        row = row_of.get(cluster.representative)
        yield {
            "summary": cluster,
            "colour": palette[cluster.cluster % len(palette)],
            "share": _percent(cluster.size, max(len(labels), 1)),
            "bar": round(56.0 * cluster.size / max(largest, 1), 1),
            "description": "" if row is None else _shortened(data.descriptions[row], 90),
            "histogram": _bars(counts / max(int(counts.max()), 1), 4.0, 26.0),
            "longest": round(longest),
            "glyph": _glyph(data.composition[index], data.background),
            "map": mapped.get((cluster.representative, cluster.cluster)),
        }


def _bars(heights: NDArray[np.floating], width: float, height: float) -> str:
    """Return an SVG path of bars that stand on the line y = `height`."""
    parts = []
    for index, share in enumerate(heights.tolist()):
        if share > 0:
            size = max(1.0, share * height)
            parts.append(f"M{index * width:g} {height:g}v{-size:.3g}h{width - 1:g}v{size:.3g}z")
    return "".join(parts)


def _glyph_layout() -> list[tuple[str, float]]:
    """Return each residue and the left edge of its bar: six units a bar, four between two groups."""
    places, x = [], 0.0
    for group in RESIDUE_GROUPS:
        for residue in group:
            places.append((residue, x))
            x += 6.0
        x += 4.0
    return places


def _glyph(composition: NDArray[np.floating], background: NDArray[np.floating]) -> dict[str, Any]:
    """Return the two paths, more and less frequent than the background, and the words for them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log2((composition + 1e-4) / (background + 1e-4))
    up: list[str] = []
    down: list[str] = []
    words: list[tuple[float, str]] = []
    for residue, x in _glyph_layout():
        ratio = float(ratios[RESIDUES.index(residue)])
        # Two-fold is the full height; fold changes of whole families seldom exceed it.
        size = 14.0 * min(1.0, abs(ratio))
        if size >= 0.5:
            (up if ratio > 0 else down).append(f"M{x:g} 15v{-math.copysign(size, ratio):.3g}h5V15z")
        words.append((ratio, f"{residue} ×{2.0**ratio:.2f}"))
    words.sort(key=lambda word: -word[0])
    strongest = ", ".join(word for _, word in words[:4])
    weakest = ", ".join(word for _, word in words[:-5:-1])
    return {
        "up": "".join(up),
        "down": "".join(down),
        "words": f"Most enriched: {strongest}. Most depleted: {weakest}.",
    }


def _metric(name: str) -> tuple[str, str, int]:
    label = name.removeprefix("n_").replace("_", " ")
    return _METRICS.get(name, (label[:1].upper() + label[1:], "", 0 if name.startswith("n_") else 1))


def _score_rows(scores: Mapping[str, float]) -> list[dict[str, Any]]:
    rows = []
    for name, value in scores.items():
        if name == "n_proteins":
            # Stands at the top already.
            continue
        label, meaning, _ = _metric(name)
        rows.append({"label": label, "meaning": meaning, "value": value})
    return rows


def _mean_sd(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        mean, sd = value["mean"], value.get("sd", math.nan)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        mean, sd = value
    else:
        mean, sd = value, math.nan
    mean, sd = float(mean), math.nan if sd is None else float(sd)
    return (mean, sd) if math.isfinite(mean) else None


def _labelled(data: ReportData) -> dict[str, Any] | None:
    """Lay out the scores against truth: all of this run, and a table of the chief ones, a row a method."""
    scores = data.scores.labelled
    if not scores:
        return None
    methods = [{"method": "seqscan, this run", **scores}, *data.baselines] if data.baselines else []
    columns = [name for name in _COMPARED if sum(row.get(name) is not None for row in methods) > 1]
    cells = {name: [_mean_sd(row.get(name)) for row in methods] for name in columns}
    best = {name: _best(cells[name], _metric(name)[2]) for name in columns}
    judged = [name for name in columns if _metric(name)[2] and cells[name][0] is not None]
    n_best = sum(best[name][0] for name in judged)
    return {
        "own": _score_rows({k: v for k, v in scores.items() if k not in _COUNTS | data.scores.label_free}),
        "columns": [{"label": _metric(name)[0], "meaning": _metric(name)[1]} for name in columns],
        "rows": [
            {
                "method": _METHODS.get(str(row["method"]), str(row["method"])),
                "cells": [
                    {"mean": cell[0] if cell else None, "sd": _sd(cell), "best": best[name][number]}
                    for name in columns
                    for cell in (cells[name][number],)
                ],
            }
            for number, row in enumerate(methods)
        ],
        "counts": ", ".join(
            f"{_number(scores[name])} {words}" for name, words in _COUNTS.items() if scores.get(name)
        ),
        "verdict": f"This run is best, or level, in {n_best or 'none'} of {_plural(len(judged), 'measure')}.",
    }


def _best(cells: Sequence[tuple[float, float] | None], direction: int) -> list[bool]:
    """Mark the best of some means; compared as printed: a difference that cannot be seen is a tie."""
    ranks = [-math.inf if cell is None else round(direction * cell[0], 3) for cell in cells]
    return [bool(direction) and rank == max(ranks) for rank in ranks]


def _sd(cell: tuple[float, float] | None) -> float | None:
    return cell[1] if cell is not None and math.isfinite(cell[1]) else None


def _table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {
        "columns": [_metric(name)[0] for name in names],
        "rows": [[row.get(name) for name in names] for row in rows],
    }


def _curves(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each stage with its charts: one a term, one line a head."""
    by_stage: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_stage.setdefault(str(row.get("stage", "")), []).append(row)
    for stage, members in by_stage.items():
        names = dict.fromkeys(name for row in members for name in row if name not in _NOT_CHARTED)
        charts = [chart for name in names if (chart := _chart(name, members)) is not None]
        if charts:
            yield {"stage": stage, "charts": charts}


def _chart(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for index, row in enumerate(rows):
        value = row.get(name)
        if isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value):
            step = float(row.get("step", index))
            lines.setdefault(str(row.get("head", "")), []).append((step, float(value)))
    if not lines:
        return None
    thinned = {head: _thinned(np.array(points)) for head, points in lines.items()}
    everything = np.concatenate(list(thinned.values()))
    (first, low), (last, high) = everything.min(axis=0), everything.max(axis=0)
    width, height = 260.0, 84.0
    x_scale = width / max(last - first, 1e-12)
    y_scale = height / (high - low) if high > low else 0.0
    paths = []
    for points in thinned.values():
        x = (points[:, 0] - first) * x_scale
        y = height - (points[:, 1] - low) * y_scale if y_scale else np.full(len(points), height / 2)
        if len(points) == 1:
            # One value has no line: a short dash shows where it stands.
            x, y = np.array([x[0], x[0] + 6.0]), np.repeat(y, 2)
        paths.append("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)))
    finals = [points[-1][1] for points in lines.values()]
    return {
        "label": name.replace("_", " "),
        "meaning": _TERMS.get(name, ""),
        "paths": paths,
        "low": float(low),
        "high": float(high),
        "first": round(first),
        "last": round(last),
        "final": finals[0] if len(finals) == 1 else None,
        "n_heads": len(finals),
    }


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average neighboring points until few enough are left to draw; the first and the last stay."""
    if len(points) <= N_CURVE_POINTS:
        return points
    inner = np.array_split(points[1:-1], N_CURVE_POINTS - 2)
    return np.vstack([points[:1], *(block.mean(axis=0, keepdims=True) for block in inner), points[-1:]])


def _map_row(item: ActivationMap, palette: Sequence[str]) -> dict[str, Any]:
    ranked = np.argsort(-item.contributions, kind="stable")
    limit = float(np.quantile(np.abs(item.contributions), 0.98)) if len(ranked) else 0.0

    def named(rows: NDArray[np.intp]) -> str:
        return ", ".join(
            f"{item.residues[row]}{row + 1} ({_signed(float(item.contributions[row]), '+.2g')})"
            for row in rows.tolist()
        )

    return {
        "item": item,
        "colour": palette[item.label % len(palette)],
        "length": len(item.residues),
        "limit": limit,
        "strongest": named(ranked[:5]),
        "weakest": named(ranked[::-1][:5]),
    }


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
