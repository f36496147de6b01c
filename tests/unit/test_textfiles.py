import bz2
import gzip
import lzma

import pytest

from seqscan.errors import InputError
from seqscan.textfiles import read_bytes, read_lines

try:
    from compression import zstd
except ImportError:
    from backports import zstd

TEXT = "id\tname\r\na\tß\nb\t\n"
COMPRESSORS = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}


@pytest.mark.parametrize("suffix", ["", ".tsv"])
@pytest.mark.parametrize("compression", COMPRESSORS)
def test_what_was_written_is_read_with_its_line_ends(tmp_path, compression, suffix):
    path = tmp_path / f"table{suffix}"
    path.write_bytes(COMPRESSORS[compression]("\ufeff".encode() + TEXT.encode()))
    assert list(read_lines(path)) == ["id\tname\r\n", "a\tß\n", "b\t\n"]
    assert read_bytes(path).decode("utf-8-sig") == TEXT


@pytest.mark.parametrize("harm", ["cut", "damaged"])
@pytest.mark.parametrize("compression", [name for name in COMPRESSORS if name != "plain"])
def test_damaged_compression_is_one_error(tmp_path, compression, harm):
    whole = bytearray(COMPRESSORS[compression](("".join(map(str, range(9999)))).encode()))
    if harm == "cut":
        del whole[len(whole) // 2 :]
    else:
        whole[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    path = tmp_path / f"table.{compression}"
    path.write_bytes(whole)
    for read in (read_bytes, lambda path, **kw: list(read_lines(path, **kw))):
        with pytest.raises(InputError, match=r"cannot be read .* Copy it again\."):
            read(path, remedy="Copy it again.")


def test_what_is_no_text_file(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_bytes(tmp_path / "none")
    with pytest.raises(InputError, match="is a directory"):
        list(read_lines(tmp_path))
    (tmp_path / "latin").write_bytes("Größe".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_lines(tmp_path / "latin"))
