"""Reading: every format and every fault a file of sequences can have."""

import bz2
import gzip
import io
import lzma
import subprocess
import sys

import pytest

from seqscan.errors import DuplicateId, InputError, InvalidSequence
from seqscan.fasta import Record, Rejected, RejectionLedger, read_fasta

PLAIN = b">a first protein\nMKVL\nMM\n>b\nACDE\n"
RECORDS = [Record("a", "first protein", "MKVLMM"), Record("b", "", "ACDE")]


def zstd(data):
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return module.compress(data)


COMPRESSORS = {"plain": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


def read(data, **options):
    return list(read_fasta(io.BytesIO(data), **options))


def rejected(data, **options):
    """Return what is used and the reasons for what is not."""
    ledger = RejectionLedger()
    records = read(data, rejected=ledger, **options)
    assert ledger.n_read == len(records) + len(ledger.rows)
    return [record.id for record in records], [(row.number, row.id, row.reason) for row in ledger.rows]


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("suffix", ["", ".fasta", ".gz", ".fastq"])
def test_files_are_told_apart_by_content_and_not_by_name(tmp_path, compression, suffix):
    path = tmp_path / f"proteins{suffix}"
    path.write_bytes(COMPRESSORS[compression](PLAIN))
    assert list(read_fasta(path)) == RECORDS
    assert list(read_fasta(str(path))) == RECORDS


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_open_stream_is_decompressed_and_left_open(compression):
    stream = io.BytesIO(COMPRESSORS[compression](PLAIN))
    assert list(read_fasta(stream)) == RECORDS
    assert not stream.closed


@pytest.mark.parametrize("compression", ["plain", "gz", "zst"])
def test_standard_input(compression):
    program = (
        "from seqscan.fasta import read_fasta\n"
        "for record in read_fasta('-'):\n"
        "    print(record.id, record.description, record.sequence, sep=':')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=COMPRESSORS[compression](PLAIN),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().split("\n") == ["a:first protein:MKVLMM", "b::ACDE", ""]


def test_fastq():
    assert read(b"@a x\nMKV\n+\nIII\n@b\nML\n+\nII\n") == [Record("a", "x", "MKV"), Record("b", "", "ML")]


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + PLAIN,
        b"\n\n \n" + PLAIN,
        b"\n" * 9000 + PLAIN,
        b"\xef\xbb\xbf\r\n" + PLAIN,
        b"# a comment\n" + PLAIN,
        PLAIN.rstrip(),
        PLAIN.replace(b"MKVL\n", b"MKVL\n\n"),
        PLAIN.replace(b"MKVL", b"M KV\tL"),
        PLAIN.replace(b"MKVL", b"mk-v.l").replace(b"ACDE", b"ACDE*"),
    ],
    ids=["crlf", "cr", "mark", "blank", "many blank", "mark and blank", "comment", "no last line end",
         "blank inside", "white space", "gaps, case, stop"],
)  # fmt: skip
def test_spellings_of_the_same_records(data):
    assert read(data) == RECORDS


@pytest.mark.parametrize(
    ("header", "id", "description"),
    [
        (b"a", "a", ""),
        (b"a  b  c ", "a", "b  c"),
        (b"a\tb c d", "a", "b c d"),
        (b"a b\tc", "a", "b\tc"),
        (b"a\x0bb", "a", "b"),
        (b"sp|P1|X_Y d=>e", "sp|P1|X_Y", "d=>e"),
    ],
)
def test_header(header, id, description):
    assert read(b">" + header + b"\nMKV\n") == [Record(id, description, "MKV")]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b">x\n", "the sequence is empty"),
        (b">x\n-.*\n", "the sequence is empty"),
        (b">x\nMK7\n", "character '7' at position 3 is not a residue"),
        (b">x\nM*K\n", "stop codon '*' at position 2, inside the sequence"),
        (b">x\nMK**\n", "stop codon '*' at position 3, inside the sequence"),
        (b">x\nXXX\n", "no residue is known (all are X, B, Z or J)"),
        (
            b">x\n" + b"ACGT" * 10 + b"\n",
            "looks like nucleotides (A, C, G, T or U, and hardly another letter)",
        ),
        (b">x\n" + b"M" * 51 + b"\n", "longer than the limit of 50 residues: 51"),
        (b">a\nMM\n", "duplicate id, first used by record 1"),
    ],
)
def test_rejected_record(record, reason):
    used, reasons = rejected(b">a\nMKV\n" + record + b">b\nMKV\n", max_length=50)
    assert used == ["a", "b"]
    assert reasons == [(2, record[1:2].decode(), reason)]
    kind = DuplicateId if "duplicate" in reason else InvalidSequence
    with pytest.raises(kind) as caught:
        read(b">a\nMKV\n" + record + b">b\nMKV\n", max_length=50)
    assert (caught.value.number, caught.value.reason) == (2, reason)


@pytest.mark.parametrize("header", [b">", b"> a", b">\ta"])
def test_header_without_id(header):
    assert rejected(header + b"\nMKV\n>b\nMKV\n") == (["b"], [(1, "", "the header has no id")])


def test_id_of_a_rejected_record_is_free():
    assert rejected(b">a\nM7\n>a\nMKV\n")[0] == ["a"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "holds no record"),
        (b"\n \r\n", "holds no record"),
        (gzip.compress(b"", mtime=0), "holds no record"),
        (b"hello\n", "neither FASTA nor FASTQ"),
        (b"\0" * 20, "neither FASTA nor FASTQ"),
        (b"BAM\1xxxx", "neither FASTA nor FASTQ"),
        (">a\nMKV\n".encode("utf-16"), "neither FASTA nor FASTQ"),
        (b"@a\nMKV\n+\nII\n", "at line 4: Length"),
        (b"#x\nMKV\n", "at line 2: Expected '>'"),
        (b">a\n77\n>b\n", "no usable protein sequence in 2 records"),
    ],
)
def test_unusable_input(data, reason):
    with pytest.raises(InputError, match=reason):
        rejected(data)


def test_one_record_that_is_not_ascii_costs_no_other():
    ledger = RejectionLedger()
    data = ">a β-lactamase\nMKV\n>é\nMKV\n>b\nMKß\n".encode()
    records = list(read_fasta(io.BytesIO(data), rejected=ledger))
    assert [(record.id, record.description) for record in records] == [("a", "β-lactamase"), ("é", "")]
    assert [(row.id, row.reason) for row in ledger.rows] == [
        ("b", "character 'ß' at position 3 is not a residue")
    ]


def test_bytes_that_are_no_text_cost_their_record_alone():
    ledger = RejectionLedger()
    data = b"#\xe9\n>a \xef\xbf\xbd\nMKV\n>caf\xe9 x\nMKV\n>b \xe9\nMKV\n>c\nMK\xe9\n>d\nMKV\n"
    assert [record.id for record in read_fasta(io.BytesIO(data), rejected=ledger)] == ["a", "d"]
    assert [(row.number, row.id, row.reason) for row in ledger.rows] == [
        (2, "caf\ufffd", "the header holds bytes that are not UTF-8"),
        (3, "b", "the header holds bytes that are not UTF-8"),
        (4, "c", "character '\\udce9' at position 3 is not a residue"),
    ]


@pytest.mark.parametrize("compression", [name for name in COMPRESSORS if name != "plain"])
def test_truncated_and_damaged_compression(tmp_path, compression):
    data = b"".join(f">p{i}\n{'MKVLAC' * (i % 7 + 1)}\n".encode() for i in range(2000))
    whole = COMPRESSORS[compression](data)
    path = tmp_path / "x"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"ends early.*Copy it again"):
        list(read_fasta(path))
    path.write_bytes(whole[:20] + bytes(byte ^ 0xFF for byte in whole[20:60]) + whole[60:])
    with pytest.raises(InputError):
        list(read_fasta(path, rejected=RejectionLedger()))


def test_directory_and_missing_file(tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        list(read_fasta(tmp_path))
    with pytest.raises(InputError, match="there is no such file"):
        list(read_fasta(tmp_path / "none.fasta"))


def test_reading_is_lazy():
    records = read_fasta(io.BytesIO(b">a\nMKV\n>b\n77\n"))
    assert next(records).id == "a"
    with pytest.raises(InvalidSequence):
        next(records)


def test_error_names_the_input(tmp_path):
    (tmp_path / "x.fasta").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        list(read_fasta(tmp_path / "x.fasta"))
    assert caught.value.path == str(tmp_path / "x.fasta")
    with pytest.raises(InputError, match=r"^the stream: "):
        read(b"")


def test_summary_counts_reasons():
    rows = [
        Rejected(1, "a", "character '7' at position 3 is not a residue"),
        Rejected(2, "b", "the sequence is empty"),
        Rejected(3, "c", "the sequence is empty"),
        Rejected(4, "d", "duplicate id, first used by record 1"),
    ]
    summary = RejectionLedger(4, rows).summary()
    assert summary.startswith("2 x the sequence is empty; ")
    assert "1 x duplicate id" in summary


def test_summary_counts_long_records_together_and_those_of_rare_reasons():
    rows = [Rejected(i, str(i), f"longer than the limit of 50 residues: {i}") for i in range(51, 60)]
    rows += [Rejected(i, str(i), f"character '{i}' at position 1 is not a residue") for i in range(7)]
    summary = RejectionLedger(20, rows).summary()
    assert summary.startswith("9 x longer than the limit of 50 residues; 1 x character '0'; ")
    assert summary.endswith("; 3 x other reasons")


def test_length_of_a_record():
    assert len(RECORDS[0]) == 6
