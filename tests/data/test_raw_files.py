"""However a file is cut, every line is read once, and in the same chunk from plain and gzipped text."""

import gzip

import pytest

from drp_ray.data.raw_files import find_files, pieces_of, read_chunks
from drp_ray.storage.folder import S3Options


@pytest.mark.parametrize("chunk_bytes", [1, 3, 9, 10, 11, 20, 30, 1000])
@pytest.mark.parametrize("ending", [b"\n", b""])
def test_every_line_is_in_one_chunk(tmp_path, chunk_bytes, ending):
    lines = [b"%09d" % number for number in range(12)] + [b"x" * 35, b"", b"last"]
    data = b"\n".join(lines) + ending
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data))
    found = []
    for name in ("a.jsonl", "a.jsonl.gz"):
        (file,) = find_files([str(tmp_path / name)], S3Options())
        chunks = {
            chunk.index: chunk.rows
            for piece in pieces_of(0, file, chunk_bytes, gzip_readers=2)
            for chunk in read_chunks(file, piece, [], chunk_bytes, False, lambda _: False)
        }
        assert [line for index in sorted(chunks) for line in chunks[index]] == lines
        found.append({index: rows for index, rows in chunks.items() if rows})
    assert found[0] == found[1]
