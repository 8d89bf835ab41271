from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import re
import tarfile
import zipfile
from fnmatch import fnmatchcase

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surpass.data.files import FilePart, glob_expression, matching, members, plain_files
from surpass.data.formats import rows_of
from surpass.data.loading import read_rows
from surpass.errors import DataError

ROWS = [{"text": 'a "quoted" word', "label": "1"}, {"text": "äöü, with a comma", "label": "0"}]
COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}


def content_of(ending: str) -> bytes:
    if ending == ".jsonl":
        return "\n".join(map(json.dumps, ROWS)).encode()
    if ending == ".json":
        return json.dumps(ROWS, indent=2).encode()
    if ending == ".csv":
        return 'text,label\r\n"a ""quoted"" word",1\r\n"äöü, with a comma",0\r\n'.encode()
    if ending == ".tsv":
        return 'text\tlabel\na "quoted" word\t1\näöü, with a comma\t0\n'.encode()
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


def zipped(path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def tarred(path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


class TestFormats:
    @pytest.mark.parametrize(("ending", "compression"), list(itertools.product(FORMATS, COMPRESS)))
    def test_all_of_them_plain_and_compressed(self, tmp_path, ending, compression):
        path = tmp_path / f"rows{ending}{compression}"
        path.write_bytes(COMPRESS[compression](content_of(ending)))
        assert read_rows(str(path)) == ROWS

    @pytest.mark.parametrize("ending", FORMATS)
    def test_in_archives(self, tmp_path, ending):
        files = {f"top/rows{ending}": content_of(ending), "top/readme.txt": b"read me"}
        extra = {f"__MACOSX/top/._rows{ending}": b"\0\5", f"top/._rows{ending}": b"\0\5"}
        zipped(tmp_path / "a.zip", files | extra)
        assert read_rows(str(tmp_path / "a.zip")) == ROWS
        for name, mode in (("a.tar", "w"), ("a.tgz", "w:gz"), ("a.tar.xz", "w:xz"), ("a.tar.bz2", "w:bz2")):
            tarred(tmp_path / name, files | extra, mode)
            assert read_rows(str(tmp_path / name)) == ROWS

    def test_compressed_in_an_archive(self, tmp_path):
        zipped(tmp_path / "a.zip", {"rows.csv.xz": lzma.compress(content_of(".csv"))})
        assert read_rows(str(tmp_path / "a.zip")) == ROWS

    def test_an_archive_of_two_files_is_no_one_file(self, tmp_path):
        zipped(tmp_path / "a.zip", {"b.jsonl": b"{}", "c.jsonl": b"{}"})
        with pytest.raises(DataError, match=r"a\.zip holds 2 files of data \(b\.jsonl, c\.jsonl\); take out"):
            read_rows(str(tmp_path / "a.zip"))

    def test_an_ending_in_capitals(self, tmp_path):
        (tmp_path / "ROWS.CSV").write_bytes(content_of(".csv"))
        assert read_rows(str(tmp_path / "ROWS.CSV")) == ROWS

    def test_lists_have_numbers_for_columns(self, tmp_path):
        (tmp_path / "a.json").write_text('[[["A: hi"], [{"question": "q"}], "1-1"], [[], [], "1-2"]]')
        rows = read_rows(str(tmp_path / "a.json"))
        assert rows[0] == {"0": ["A: hi"], "1": [{"question": "q"}], "2": "1-1"}
        assert rows[1]["2"] == "1-2"

    def test_lines_in_a_file_called_json(self, tmp_path):
        (tmp_path / "a.json").write_text('\n{"a": 1}\n\n{"a": [2]}\n')
        assert read_rows(str(tmp_path / "a.json")) == [{"a": 1}, {"a": [2]}]

    def test_a_byte_order_mark_is_no_text(self, tmp_path):
        for ending in (".jsonl", ".json", ".csv", ".tsv"):
            path = tmp_path / f"a{ending}"
            path.write_bytes(b"\xef\xbb\xbf" + content_of(ending))
            assert read_rows(str(path)) == ROWS

    def test_tsv_has_no_quoting(self, tmp_path):
        (tmp_path / "a.tsv").write_bytes(b'text\tlabel\n"a\t1\r\nb"" c\rd\t0\n')
        assert read_rows(str(tmp_path / "a.tsv")) == [
            {"text": '"a', "label": "1"},
            {"text": 'b"" c\rd', "label": "0"},
        ]

    def test_csv_keeps_lines_inside_quotes_and_long_fields(self, tmp_path):
        long = "x" * 200_000
        (tmp_path / "a.csv").write_bytes(f'a,b\n"one\ntwo",2\n\n{long},3\n'.encode())
        assert read_rows(str(tmp_path / "a.csv")) == [{"a": "one\ntwo", "b": "2"}, {"a": long, "b": "3"}]

    @pytest.mark.parametrize("text", ["x,1\ny,2\n", "text,label\nx,1\ny,2\n"])
    def test_names_for_files_without_a_header(self, tmp_path, text):
        (tmp_path / "a.csv").write_text(text)
        rows = list(rows_of(FilePart(str(tmp_path / "a.csv")), ("text", "label")))
        assert rows == [{"text": "x", "label": "1"}, {"text": "y", "label": "2"}]

    @pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv"])
    def test_an_empty_file_has_no_rows(self, tmp_path, ending):
        (tmp_path / f"a{ending}").write_bytes(b"")
        assert read_rows(str(tmp_path / f"a{ending}")) == []

    def test_nested_parquet_is_plain_python(self, tmp_path):
        row = {"answers": {"text": ["a", "b"], "n": [1, 2]}, "none": None}
        pq.write_table(pa.Table.from_pylist([row, row]), tmp_path / "a.parquet")
        assert read_rows(str(tmp_path / "a.parquet")) == [row, row]


class TestDamage:
    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("a.jsonl", b'{"a": 1}\n\n{"a": \n', r"a\.jsonl, line 3 is no JSON \(Expecting value\); mend it"),
            ("a.jsonl", b'{"a": 1}\n7\n', r"a\.jsonl, line 2 is '7'; expected an object"),
            ("a.jsonl", b'{"a": "\xff"}\n', r"a\.jsonl, line 1 is no JSON \('utf-8' codec"),
            ("a.json", b'[{"a": 1},', r"a\.json is no JSON \(Expecting value: line 1"),
            ("a.json", b'[{"a": 1}, 3]', r"a\.json, row 1 is '3'; expected an object"),
            ("a.json", b'"text"', r"a\.json holds a JSON str; expected a list of objects"),
            ("a.json", b"", r"a\.json is no JSON"),
            ("a.json", b"[" * 100_000, r"a\.json is no JSON \("),
            ("a.csv", b"a,b\n1,2,3\n", r"a\.csv, line 2 has 3 fields, and there are 2 columns \(a, b\)"),
            ("a.csv", b'a,b\n1,2\n"cut', r"a\.csv, line 4 cannot be read \(unexpected end of data\)"),
            ("a.csv", b"a,b\n\xff,1\n", r"a\.csv, line \d cannot be read \('utf-8' codec"),
            ("a.csv", b"a,a\n1,2\n", r"a\.csv has two columns 'a'; give each"),
            ("a.tsv", b"a\tb\n1\n", r"a\.tsv, line 2 has 1 fields, and there are 2 columns"),
            ("a.tsv", b"a\tb\n1\t\xff\n", r"a\.tsv, line 2 cannot be read \('utf-8' codec"),
            ("a.parquet", b"PAR1", r"a\.parquet cannot be read \(.*\); it may be cut short: fetch it again"),
            ("a.zip", b"PK", r"a\.zip cannot be read \(File is not a zip file\)"),
            ("a.tar.xz", b"xz", r"a\.tar\.xz cannot be read \("),
            ("a.txt", b"x", r"a\.txt has an ending that says nothing .*\.parquet, \.jsonl, .*\.zst"),
            (
                "a.parquet",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
                r"a\.parquet is a pointer of Git LFS, not the file; run `git lfs pull`",
            ),
        ],
    )
    def test_it_is_said_in_one_line(self, tmp_path, name, content, said):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=said) as caught:
            read_rows(str(tmp_path / name))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("compression", [".gz", ".bz2", ".xz", ".zst"])
    @pytest.mark.parametrize("ending", FORMATS)
    def test_cut_short(self, tmp_path, ending, compression):
        whole = COMPRESS[compression](content_of(ending))
        path = tmp_path / f"a{ending}{compression}"
        path.write_bytes(whole[:-7])
        with pytest.raises(DataError, match=re.escape(f"{path} cannot be read (") + ".*cut short"):
            read_rows(str(path))

    def test_no_such_file(self, tmp_path):
        (tmp_path / "folder.csv").mkdir()
        for name in ("none.csv", "folder.csv"):
            with pytest.raises(DataError, match=rf"{name} cannot be read \(.*\); name a file that is there"):
                read_rows(str(tmp_path / name))

    @pytest.mark.parametrize("name", ["a.zip", "a.tar"])
    def test_no_such_member(self, tmp_path, name):
        (zipped if name == "a.zip" else tarred)(tmp_path / name, {"b.jsonl": b"{}"})
        with pytest.raises(DataError, match=r"none\.jsonl cannot be read"):
            list(rows_of(FilePart(str(tmp_path / name), "none.jsonl")))

    def test_a_zip_with_a_password(self, tmp_path):
        path = tmp_path / "a.zip"
        zipped(path, {"b.jsonl": b"{}"})
        content = bytearray(path.read_bytes())
        for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            content[content.index(mark) + place] |= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"b\.jsonl cannot be read \(.*password"):
            read_rows(str(path))


class TestLooking:
    def test_hidden_files_are_not_seen(self, tmp_path):
        for name in ("b/one.csv", "a.csv", ".git/x.csv", "b/.x.csv", "__MACOSX/x.csv"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("a\n")
        assert plain_files(tmp_path) == [
            FilePart(str(tmp_path / "a.csv")),
            FilePart(str(tmp_path / "b" / "one.csv")),
        ]

    def test_members_that_are_files(self, tmp_path):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for name, kind in (("d", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE), ("file", tarfile.REGTYPE)):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = kind, "/etc/passwd"
                archive.addfile(entry)
        assert [part.member for part in members(tmp_path / "a.tar")] == ["file"]

    def test_members_that_point_outside_are_left_alone(self, tmp_path):
        zipped(tmp_path / "a.zip", {"../out.jsonl": b"{}", "/abs.jsonl": b"{}", "in.jsonl": b'{"a": 1}'})
        assert read_rows(str(tmp_path / "a.zip")) == [{"a": 1}]
        assert not (tmp_path.parent / "out.jsonl").exists()

    def test_an_archive_that_was_written_again_is_read_again(self, tmp_path):
        zipped(tmp_path / "a.zip", {"one.csv": b""})
        assert [part.member for part in members(tmp_path / "a.zip")] == ["one.csv"]
        zipped(tmp_path / "a.zip", {"one.csv": b"", "two.csv": b""})
        assert [part.member for part in members(tmp_path / "a.zip")] == ["one.csv", "two.csv"]

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("train.jsonl", ["/d/train.jsonl.xz"]),
            ("a/train.jsonl", ["/d/a/train.jsonl"]),
            ("a/t*.jsonl", ["/d/a/test.jsonl", "/d/a/train.jsonl"]),
            ("**/t*.jsonl", ["/d/a/test.jsonl", "/d/a/train.jsonl", "/d/train.jsonl.xz"]),
            ("z/deep/in.csv", ["/d/z.tar.gz:deep/in.csv"]),
            ("in.csv", ["/d/z.tar.gz:deep/in.csv"]),
            ("rain.jsonl", []),
            ("?rain.jsonl", ["/d/a/train.jsonl", "/d/train.jsonl.xz"]),
            ("[!x]rain.jsonl", ["/d/a/train.jsonl", "/d/train.jsonl.xz"]),
        ],
    )
    def test_patterns(self, pattern, found):
        names = ["/d/a/test.jsonl", "/d/a/train.jsonl", "/d/train.jsonl.xz"]
        parts = [*map(FilePart, names), FilePart("/d/z.tar.gz", "deep/in.csv")]
        assert [str(part) for part in matching(parts, pattern)] == found

    def test_a_users_folder_does_not_count_as_what_a_star_stands_for(self):
        part = FilePart("/home/data/train-runs/test-0.parquet")
        assert matching([part], "data/train-*.parquet") == []

    def test_patterns_agree_with_the_standard_library(self):
        names = ["a", "ab", "a.b", "b", "a/b", "a/a/b"]
        pieces = ["a", "b", "*", "?", "[ab]", "."]
        for length in (1, 2, 3):
            for chosen in itertools.product(pieces, repeat=length):
                pattern = "".join(chosen)
                if "**" in pattern:
                    continue
                for name in names:
                    ours = bool(glob_expression(pattern).fullmatch(name))
                    theirs = "/" not in name and fnmatchcase(name, pattern)
                    assert ours == theirs, (pattern, name)


def test_two_columns_of_one_name_in_parquet(tmp_path):
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["x", "x"])
    pq.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match=r"twice\.parquet has two columns 'x'; give each a name of its own"):
        list(rows_of(FilePart(str(tmp_path / "twice.parquet"))))
