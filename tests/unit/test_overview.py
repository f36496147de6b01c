"""What a report shows where there is nothing to show."""

import numpy as np

from seqscan.alphabet import AMINO
from seqscan.corpus import write_corpus
from seqscan.head import ClusterHead
from seqscan.model import Model
from seqscan.overview import report_data
from seqscan.report import write_report
from seqscan.results import Assignments


def test_proteins_without_a_cluster(tiny_encoder, family_records, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", family_records[:1])
    vectors = tiny_encoder.embed([AMINO.encode(family_records[0].sequence)])
    model = Model(tiny_encoder, ClusterHead(vectors, 0 * vectors[0], np.eye(8, dtype=np.float32), 0.1))
    none = Assignments.certain(corpus.ids, np.array([-1]))
    data = report_data(
        model, corpus, vectors, none, [], seed=0, threads=1,
        title="t", command="", input_name="i", n_read=1, n_rejected=0,
    )  # fmt: skip
    write_report(data, tmp_path / "report.html")
    assert "No clusters were found among 1 protein." in (tmp_path / "report.html").read_text()
