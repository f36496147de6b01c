"""The report: complete, self-contained, deterministic, and safe against what stands in a FASTA header."""

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from seqscan.alphabet import AMINO
from seqscan.errors import InvalidParameter, ShapeMismatch
from seqscan.fasta import Rejected
from seqscan.report import ReportData, payload, project_to_plane, write_report
from seqscan.report.palette import cluster_colours
from seqscan.report.scores import COUNTS, METRICS, labelled_scores
from seqscan.report.summary import findings
from seqscan.residues.maps import ActivationMap
from seqscan.results import Assignments, ClusterSummary, Scores
from seqscan.tally import compositions
from seqscan.wording import number

HOSTILE = "</script><img src=x onerror=alert(1)>"
SEQUENCES = ("MKVLAAGIVGLLLAQWYHEDRK", "MKVLSAGIVGLCLAQWYHEDRK", "MSTNPKPQRKTKRNTNRRPQDVKFPGG")


def make_assignments(ids, labels):
    n = len(ids)
    return Assignments(
        ids,
        np.array(labels, np.int32),
        np.linspace(0.9, 0.4, n, dtype=np.float32),
        np.full(n, -1, np.int32),
        np.zeros(n, np.float32),
    )


def make_data(n=40, n_clusters=3, **changes):
    generator = np.random.default_rng(0)
    ids = [f"P{i:05d}" for i in range(n)]
    labels = [i % n_clusters if n_clusters else -1 for i in range(n)]
    if n_clusters and n > 5:
        labels[-1] = -1
    codes = [AMINO.encode(SEQUENCES[i % 3]) for i in range(n)]
    composition, background = compositions(codes, np.array(labels), range(n_clusters))
    clusters = [
        ClusterSummary(c, labels.count(c), ids[c], 0.8, 22.0, 1.5, "K R") for c in range(min(n_clusters, n))
    ]
    maps = [
        ActivationMap(
            ids[c], c, SEQUENCES[c % 3], generator.normal(size=len(SEQUENCES[c % 3])).astype("f4"), -0.5
        )
        for c in range(len(clusters))
    ]
    values = {
        "title": "A run",
        "version": "0.1.0",
        "command": "seqscan run in.fasta -o run/",
        "input_name": "in.fasta",
        "n_read": n + 2,
        "n_rejected": 2,
        "assignments": make_assignments(ids, labels),
        "descriptions": ["protein kinase"] * n,
        "positions": generator.normal(size=(n, 2)),
        "lengths": np.array([len(code) for code in codes], dtype=int),
        "clusters": clusters,
        "composition": composition[: len(clusters)],
        "background": background,
        "rejected": [Rejected(3, "bad", "the sequence is empty"), Rejected(9, "", "the header has no id")],
        "curves": [
            {"stage": "scan", "step": i, "consistency": 2.0 / (i + 1), "entropy": 1.0} for i in range(500)
        ],
        "scores": Scores({"held_out_agreement": 0.91, "mean_probability": -0.2}, {"nmi": 0.8, "ari": 0.5}),
        "baselines": [{"method": "k-means", "nmi": {"mean": 0.7, "sd": 0.01}, "ari": (0.6, 0.02)}],
        "maps": maps,
        "configuration": {"n_clusters": 3, "scan": {"entropy_weight": 1.0}},
    }
    return ReportData(**values | changes)


def written(data, tmp_path):
    write_report(data, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


class Page(HTMLParser):
    """Every tag with its attributes, and the text of every script and style."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.raw, self._open = [], "", {"script": [], "style": []}, ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in self.raw:
            self._open = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, text):
        if self._open:
            self.raw[self._open][-1] += text
        else:
            self.text += text

    @property
    def sections(self):
        return [attributes["id"] for tag, attributes in self.tags if tag == "section"]


def test_every_section_is_there(tmp_path):
    page = Page(written(make_data(), tmp_path))
    assert page.sections == [
        "summary",
        "map",
        "clusters",
        "scores",
        "residues",
        "training",
        "rejected",
        "run",
    ]
    for text in (
        "39 proteins fall into 3 clusters.",
        "Every record that was read is accounted for.",
        "scan.entropy_weight",
        "the header has no id",
        "0.910",
        "−0.200",
    ):
        assert text in page.text


def test_empty_parts_are_left_out(tmp_path):
    empty = {"maps": [], "curves": [], "rejected": [], "n_rejected": 0, "scores": Scores()}
    page = Page(written(make_data(n_clusters=1, n_read=40, **empty), tmp_path))
    assert page.sections == ["summary", "map", "clusters", "run"]
    assert "A single cluster" in page.text
    none = make_data(n=3, n_clusters=0, n_read=3, **empty)
    page = Page(written(none, tmp_path))
    assert page.sections == ["summary", "map", "run"]
    assert "No clusters were found among 3 proteins." in page.text
    page = Page(written(make_data(n=0, n_clusters=0, n_read=0, **empty), tmp_path))
    assert page.sections == ["summary", "run"]


def test_three_proteins_and_degenerate_values(tmp_path):
    data = make_data(n=3, n_clusters=3, positions=np.zeros((3, 2)), background=np.zeros(20))
    data = replace(
        data, curves=[{"stage": "scan", "step": 0, "total": 1.0, "x": float("nan")}, {"stage": "s"}]
    )
    assert "3 proteins fall into 3 clusters." in Page(written(data, tmp_path)).text
    assert "Warning" in Page(written(replace(data, n_read=99), tmp_path)).text


def test_labelled_scores_only_with_truth(tmp_path):
    data = make_data()
    assert "k-means" in Page(written(data, tmp_path)).text
    unlabelled = replace(data, scores=Scores({"mean_probability": 0.1}))
    assert "k-means" not in Page(written(unlabelled, tmp_path)).text


def test_best_score_is_bold_whoever_has_it():
    table = labelled_scores(
        make_data(scores=Scores({}, {"nmi": 0.8, "ari": 0.5, "purity": 0.9, "n_scored": 40}))
    )
    assert [row["method"] for row in table["rows"]] == ["seqscan, this run", "k-means"]
    assert [column["label"] for column in table["columns"]] == ["NMI", "ARI"]
    assert [[cell["best"] for cell in row["cells"]] for row in table["rows"]] == [
        [True, False],
        [False, True],
    ]
    assert [row["label"] for row in table["own"]] == ["NMI", "ARI", "Purity"]
    assert table["verdict"] == "This run is best, or level, in 1 of 2 measures."
    assert table["counts"] == "40 proteins scored"


def test_every_figure_of_evaluate_is_explained():
    evaluate = pytest.importorskip("seqscan.evaluate")
    found = make_assignments(list("abcdef"), [0, 0, 0, 1, 1, -1])
    scores = evaluate.evaluate(found, dict(zip("abcdef", "xxyyzz", strict=True)), held_out_edges=[(0, 1)])
    known = METRICS.keys() | COUNTS.keys() | {"n_proteins"}
    assert scores.label_free.keys() | scores.labelled.keys() <= known


def test_untrusted_text_stays_text(tmp_path):
    ids = [HOSTILE, *(f"p{i}" for i in range(9))]
    data = make_data(n=10)
    hostile = replace(
        data,
        title=HOSTILE,
        command=HOSTILE,
        input_name=HOSTILE,
        assignments=make_assignments(ids, data.assignments.labels),
        descriptions=[HOSTILE] * 10,
        clusters=[replace(data.clusters[0], representative=HOSTILE), *data.clusters[1:]],
        rejected=[Rejected(1, HOSTILE, HOSTILE)],
        maps=[replace(data.maps[0], id=HOSTILE)],
        baselines=[{"method": HOSTILE, HOSTILE: 1.0}],
        curves=[{"stage": HOSTILE, "step": 0, HOSTILE: 1.0}],
        configuration={HOSTILE: HOSTILE},
    )
    html = written(hostile, tmp_path)
    page = Page(html)
    assert "<img" not in html
    assert "img" not in [tag for tag, _ in page.tags]
    assert len(page.raw["script"]) == 2
    assert page.text.count(HOSTILE) >= 12
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_nothing_is_asked_of_the_network(tmp_path):
    html = written(make_data(), tmp_path)
    page = Page(html)
    assert "link" not in [tag for tag, _ in page.tags]
    for tag, attributes in page.tags:
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import", page.raw["style"][0])
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|import\(|sendBeacon", page.raw["script"][1])
    # The one address is the name of the SVG language.
    assert set(re.findall(r"https?://[^\"' ]+", html)) <= {"http://www.w3.org/2000/svg"}


def test_policy_allows_only_what_the_module_put_in(tmp_path):
    page = Page(written(make_data(), tmp_path))
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for text in (page.raw["style"][0], page.raw["script"][1]):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    # The policy would ignore such attributes without a word.
    assert not [tag for tag, attributes in page.tags if "style" in attributes]


def test_payload_holds_the_points(tmp_path):
    data = make_data()
    found = json.loads(Page(written(data, tmp_path)).raw["script"][0])
    numbers = gzip.decompress(base64.b64decode(found["numbers"]))
    n = found["n"]
    assert n == 40
    assert len(numbers) == 9 * n
    assert np.array_equal(np.frombuffer(numbers, "<i4", n), data.assignments.labels)
    ids, descriptions = json.loads(gzip.decompress(base64.b64decode(found["texts"])))
    assert ids == list(data.assignments.ids)
    assert descriptions[0] == "protein kinase"
    drawn = np.frombuffer(base64.b64decode(found["maps"][0]["contributions"]), "<f4")
    assert np.array_equal(drawn, data.maps[0].contributions)


def test_only_what_is_sure_is_drawn_as_sure(tmp_path):
    data = make_data()
    probabilities = np.where(np.arange(40) < 20, 1.0, 0.9999).astype("f4")
    data = replace(data, assignments=replace(data.assignments, probabilities=probabilities))
    found = json.loads(Page(written(data, tmp_path)).raw["script"][0])
    levels = gzip.decompress(base64.b64decode(found["numbers"]))[-40:]
    assert list(levels) == [255] * 20 + [254] * 20


def test_a_sample_is_drawn_of_many(tmp_path, monkeypatch):
    monkeypatch.setattr(payload, "MAX_POINTS", 10)
    data = make_data()
    drawn = payload.drawn_rows(data)
    assert {0, 1, 2} <= set(drawn.tolist())
    assert len(drawn) <= 13
    text = " ".join(Page(written(data, tmp_path)).text.split())
    assert f"Of 40 proteins, an even sample of {len(drawn)} is drawn" in text


def test_equal_data_give_equal_bytes(tmp_path):
    assert written(make_data(), tmp_path) == written(make_data(), tmp_path)


def test_shapes_are_checked():
    with pytest.raises(ShapeMismatch, match="positions"):
        make_data(positions=np.zeros((40, 3)))
    with pytest.raises(ShapeMismatch, match="descriptions"):
        make_data(descriptions=[])
    with pytest.raises(ShapeMismatch, match="composition"):
        make_data(composition=np.zeros((2, 20)))


def test_palette_is_of_distinct_colours():
    palette = cluster_colours()
    assert len(set(palette)) == len(palette) == 60
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in palette)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (12345, "12,345"),
        (0.5, "0.500"),
        (1.0, "1.000"),
        (0.9997, "0.999"),
        (float("nan"), "–"),
        (-2e-5, "−2.0e−05"),
    ],
)
def test_numbers_are_readable(value, text):
    assert number(value) == text


def test_layout_keeps_groups_together_and_repeats_itself():
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 16)) * 4
    groups = np.repeat(np.arange(3), 40)
    vectors = centres[groups] + generator.normal(size=(120, 16))
    positions = project_to_plane(vectors, n_landmarks=90)
    assert positions.shape == (120, 2)
    assert np.isfinite(positions).all()
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(axis=1)] == groups).mean() > 0.95
    assert np.array_equal(positions, project_to_plane(vectors, n_landmarks=90))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 9, 11])
def test_layout_of_few_vectors(n):
    assert project_to_plane(np.random.default_rng(n).normal(size=(n, 8))).shape == (n, 2)
    assert np.isfinite(project_to_plane(np.ones((n, 8)))).all()


def test_layout_refuses_bad_arguments():
    with pytest.raises(ShapeMismatch):
        project_to_plane(np.zeros(3))
    with pytest.raises(InvalidParameter):
        project_to_plane(np.eye(3), n_landmarks=2)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def page_in_a_browser(data, tmp_path):
    write_report(data, tmp_path / "report.html")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000",
        "--dump-dom",
        (tmp_path / "report.html").as_uri(),
    ]
    return Page(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_script_runs_in_a_browser(tmp_path):
    page = page_in_a_browser(make_data(descriptions=[HOSTILE] * 40), tmp_path)
    body = next(attributes for tag, attributes in page.tags if tag == "body")
    assert body["data-ready"] == "true"
    # A residue map and the legend are the script's work.
    assert sum(tag == "s" for tag, _ in page.tags) == 60
    assert "cluster 2" in page.text
    assert "img" not in [tag for tag, _ in page.tags]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_no_number_on_the_map_covers_another(tmp_path):
    places = np.array([[0.0, 0.0], [0.001, 0.0], [1.0, 1.0]])[np.arange(40) % 3]
    page = page_in_a_browser(make_data(positions=places), tmp_path)
    canvas = next(attributes for tag, attributes in page.tags if tag == "canvas")
    assert canvas["data-named"] == "0 2"


def test_clusters_that_are_hardly_told_apart_are_not_praised():
    data = make_data()
    assert not any("hardly told apart" in sentence for sentence in findings(data))
    data.assignments.probabilities[5:] = 0.4
    assert any("hardly told apart" in sentence for sentence in findings(data))
