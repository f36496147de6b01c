"""What is written comes back, and what cannot be read is told in one way."""

import gzip
import io
import string
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from seqscan.alphabet import AMINO
from seqscan.errors import SeqscanError
from seqscan.fasta import Record, RejectionLedger, read_fasta

PRINTABLE = string.ascii_letters + string.digits + string.punctuation

ids = st.text(PRINTABLE, min_size=1, max_size=12)
descriptions = st.text(PRINTABLE + " ", max_size=20).map(str.strip)
sequences = st.text(AMINO.symbols[1:-1] + "BZJUO", min_size=1, max_size=120).filter(
    lambda residues: not AMINO.fault(residues)
)
record_lists = st.lists(
    st.builds(Record, ids, descriptions, sequences),
    min_size=1,
    max_size=8,
    unique_by=lambda record: record.id,
)


@settings(deadline=None)
@given(record_lists, st.integers(1, 80), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_round_trip(records, width, line_end, compress):
    lines = []
    for record in records:
        lines.append(f">{record.id} {record.description}")
        lines += [record.sequence[i : i + width] for i in range(0, len(record), width)]
    data = (line_end.join(lines) + line_end).encode()
    assert list(read_fasta(io.BytesIO(gzip.compress(data) if compress else data))) == records


fragments = st.sampled_from(
    [b">", b"\n", b"\r", b">a\n", b"@a\n", b"+\n", b"MKV", b"*", b"-", b"7", b" ", b"\t", b"#", b"\xff",
     b"\0", b"\xef\xbb\xbf", "é".encode(), b"BAM\1", b"ACGT" * 10, b"\x1f\x8b", b"BZh",
     b"\x28\xb5\x2f\xfd", gzip.compress(b">z\nMKV\n")]
)  # fmt: skip
soups = st.lists(fragments, max_size=30).map(b"".join)
inputs = st.one_of(
    st.binary(max_size=200),
    soups,
    soups.map(lambda soup: b">a\nMKV\n" + soup),
    st.builds(
        lambda soup, cut: gzip.compress(b">a\nMKV\n" + soup)[: -cut or None], soups, st.integers(0, 60)
    ),
)


@settings(deadline=None, max_examples=300)
@given(inputs, st.integers(1, 50))
def test_every_record_is_used_or_written_down_whatever_the_bytes(data, max_length):
    ledger = RejectionLedger()
    used: list[Record] = []
    # No other exception than a SeqscanError may come out.
    with suppress(SeqscanError):
        used.extend(read_fasta(io.BytesIO(data), rejected=ledger, max_length=max_length))
        assert used
    assert ledger.n_read == len(used) + len(ledger.rows)
    assert len({record.id for record in used}) == len(used)
    numbers = [row.number for row in ledger.rows]
    assert numbers == sorted(set(numbers))
    for record in used:
        assert record.id == "".join(record.id.split())
        assert 1 <= len(record) <= max_length
        assert AMINO.encode(record.sequence).all()
