"""Tables are read as they are written, whoever wrote them; what is filled in or can be misread is told."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rsidiff_kedro.core.untrusted.tables import MissingColumnError, TableError, read_parquet, read_rows

MARK = b"\xef\xbb\xbf"
ENDS = ["\n", "\r\n", "\r"]
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from('",\t"'), min_size=1)
fast = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path, content, *columns):
    """Return the columns of a file with this content, and the notes about it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_rows(path, columns or ["text"])
    return [table.rows[column].tolist() for column in columns or ["text"]], list(table.notes)


def refused(path, content, *columns):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TableError) as caught:
        read_rows(path, columns or ["text"])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@fast
@given(
    st.lists(st.tuples(TEXT, TEXT), min_size=1),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["csv", "tsv"]),
    st.sampled_from(ENDS),
    st.sampled_from([b"", MARK]),
)
def test_what_was_quoted_is_read_as_it_was(tmp_path, rows, quoting, kind, end, mark):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t" if kind == "tsv" else ",", quoting=quoting, lineterminator=end)
    writer.writerows([("text", "kind"), *rows])
    found, _ = read(tmp_path / f"a.{kind}", mark + buffer.getvalue().encode(), "text", "kind")
    assert list(zip(*found)) == rows


@fast
@given(st.lists(TEXT.map(lambda text: text.replace("\t", " ")), min_size=1), st.sampled_from(ENDS))
@example(['"Stop" painted on a wall', '"Once upon a time', 'a book that says "Once upon a time"'], "\n")
@example(['"', "a fox", "a hare", '"'], "\n")
@example(['"Stop"', "a fox"], "\n")
def test_what_was_not_quoted_loses_no_row(tmp_path, texts, end):
    content = end.join(["text\tkind", *(f"{text}\tkind {number}" for number, text in enumerate(texts))])
    (found, kinds), notes = read(tmp_path / "a.tsv", content, "text", "kind")
    assert kinds == [f"kind {number}" for number in range(len(texts))]
    if found != texts:  # it is also valid as quoted TSV, and is read so
        assert found == [next(csv.reader([text], delimiter="\t"))[0] for text in texts]
        assert notes or any(mark in text[1:-1] for text in texts for mark in '",')


def test_a_tsv_with_lone_quotation_marks_is_read_as_it_is_written(tmp_path):
    texts = [f"a fox, number {number}" for number in range(40)]
    texts[5], texts[10], texts[25] = '"Stop" on a wall', '"Once upon a time, a castle', 'a book: "Once upon a time"'
    assert read(tmp_path / "a.tsv", "\n".join(["text\tkind", *(f"{text}\tx" for text in texts)])) == ([texts], [])


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize(
    "rows",
    [
        ['"Stop" sign,a', "a fox,b"],
        ['"Once upon a time,a', "a fox,b", 'that says "end",c', '"a hare",d'],
        ['"Once upon a time,a', "a fox,b"],
        ['a,"b"c'],
    ],
)
def test_csv_that_is_not_quoted_right_names_its_line_and_tsv_takes_it_as_it_is(tmp_path, rows, kind):
    content = "\n".join(["text,kind", *rows])
    if kind == "csv":
        assert "not a valid csv file (the row that begins in line 2" in refused(tmp_path / "a.csv", content)
    else:
        (texts,), notes = read(tmp_path / "a.tsv", content.replace(",", "\t"))
        assert texts == [row.split(",")[0] for row in rows]
        assert bool(notes) is ('"a hare"' in texts)


CUT = "with fewer fields than the header; what is missing counts as empty"
SPACED = "with a space before quotation marks, read with both; remove the space after the separator"
BROKEN = "with a line break in quotation marks, read as one row each"


@pytest.mark.parametrize(
    ("name", "content", "texts", "note"),
    [
        ("a.csv", 'text,kind\n"a fox\nin snow",x\na hare,y\n', ["a fox\nin snow", "a hare"], "1 row (lines 2 to 3) "),
        ("a.csv", 'text,kind\n"a\nb",x\n"c\nd\ne",x\n', ["a\nb", "c\nd\ne"], "2 rows (lines 2 to 3 first) "),
        ("a.csv", "kind,text\nx,a fox\ny\n", ["a fox", ""], f"1 row (line 3) {CUT}"),
        ("a.csv", 'kind,text\nx, "a fox"\ny,"a hare"\n', [' "a fox"', "a hare"], f"1 field (line 2) {SPACED}"),
        ("a.tsv", "text\tkind\na fox\na hare\n", ["a fox", "a hare"], f"2 rows (line 2 first) {CUT}"),
        (
            "a.tsv",
            'text\tkind\n"Stop"\tx\na fox\ty\n',
            ["Stop", "a fox"],
            "1 field (line 2) in quotation marks, read without them",
        ),
        (
            "a.tsv",
            'text\tkind\n"a ""big"" cat"\tx\n"a hare"\ty\n"lone\tz\n',
            ['"a ""big"" cat"', '"a hare"', '"lone'],
            "2 fields (line 2 first) in quotation marks, read with them (others are lone)",
        ),
        (
            "a.tsv",
            'text\tkind\n"a hare"\ty\n"lone\tx\nend"\tz\n',
            ['"a hare"', '"lone', 'end"'],
            "1 field (line 2) in quotation marks, read with them (others are lone)",
        ),
    ],
)
def test_what_is_filled_in_or_can_be_misread_is_told(tmp_path, name, content, texts, note):
    assert read(tmp_path / name, content) == ([texts], [note + BROKEN if note.endswith(" ") else note])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text\na castle, at night\n", "line 2 has 2 fields, but the header 1); quote prompts that hold"),
        ("a.csv", "text,text\na,b\n", "2 columns are named 'text'; rename all but one"),
        ("a.csv", "a,b\n1,2\n", "no column 'text'; there are a, b"),
        ("a.tsv", 'text\n"Stop\na fox\nGo"\n', "line 2 opens a quotation mark that line 4 closes"),
        ("a.tsv", 'text\tkind\n"Stop\nGo"\tx\n', "line 2 opens a quotation mark that line 3 closes"),
        (
            "a.jsonl",
            '{"text": "a", "text": "b"}',
            "line 1 is not valid JSON (the key 'text' stands twice in",
        ),
        ("a.json", '[{"text": "a"}, {"text": "b", "text": "c"}]', "the key 'text' stands twice"),
        ("a.xlsx", "x", "unknown kind of table '.xlsx'; use one of .txt, .csv"),
        ("a.txt", "a fox\n".encode("utf-16-le"), "not UTF-8 (a zero byte at character 1, as UTF-16 has)"),
        ("a.jsonl", '{"text": "a"}\n'.encode("utf-16-be"), "not UTF-8 (a zero byte at character 0"),
        ("a.csv", "text\na\n".encode("utf-16"), "not UTF-8 (byte 0xff at position 0); save it as UTF-8"),
    ],
)
def test_what_cannot_be_read_as_it_is_written_is_refused(tmp_path, name, content, said):
    assert said in refused(tmp_path / name, content)


def test_json_lines_under_the_name_of_json_are_read(tmp_path):
    assert read(tmp_path / "a.json", '{"text": "a fox"}\n\n{"text": "[a hare"}\n') == ([["a fox", "[a hare"]], [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text\na fox\n"),
        ("a.tsv", "text\tkind\na fox\tx\n"),
        ("a.txt", "a fox\n"),
        ("a.json", '["a fox"]'),
        ("a.jsonl", '{"text": "a fox"}\n'),
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_table(tmp_path, name, content):
    assert read(tmp_path / name, MARK + content.encode()) == ([["a fox"]], [])


def test_whole_numbers_stay_whole_beside_missing_ones(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"], "kind": pa.array([1, None])}), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet", ["kind"]).rows["kind"].tolist() == [1, None]
    content = '{"text": "a", "kind": 1}\n{"text": "b"}\n'
    assert read(tmp_path / "a.jsonl", content, "text", "kind")[0] == [["a", "b"], [1, None]]


def labelled(path, values, features):
    metadata = {b"huggingface": features if isinstance(features, bytes) else json.dumps(features).encode()}
    pq.write_table(pa.table({"text": ["a", "b", "c"], "kind": values}).replace_schema_metadata(metadata), path)
    return path


def label(names, **more):
    return {"info": {"features": {"kind": {"names": names, "_type": "ClassLabel"}, **more}}}


def test_classes_are_read_by_the_names_in_a_files_metadata(tmp_path):
    path = labelled(tmp_path / "a.parquet", [2, 0, -1], label(["anime", "photo", "painting"]))
    assert read_rows(path, ["text", "kind"]).rows["kind"].tolist() == ["painting", "anime", None]


def test_a_class_without_a_name_is_refused(tmp_path):
    path = labelled(tmp_path / "a.parquet", [0, 1, 7], label(["anime", "photo"]))
    with pytest.raises(TableError, match="column 'kind' holds class 7, but its features name 2 classes"):
        read_rows(path, ["kind"])


@pytest.mark.parametrize(
    "features",
    [
        b"",
        b"{",
        b"[" * 10_000,
        b"\xff",
        [],
        {"info": None},
        {"info": {"features": 3}},
        label(3),
        label([1, 2]),
        label({}),
    ],
)
def test_damaged_features_are_passed_over(tmp_path, features):
    path = labelled(tmp_path / "a.parquet", [0, 1, 1], features)
    assert read_rows(path, ["kind"]).rows["kind"].tolist() == [0, 1, 1]


def test_columns_that_are_not_asked_for_are_not_read(tmp_path):
    """Images that cannot be read would show that they are."""
    path = tmp_path / "a.parquet"
    rows = {"text": [f"a fox {number}" for number in range(3)], "image": [{"bytes": bytes(1000)}] * 3}
    pq.write_table(pa.table(rows), path)
    place = pq.ParquetFile(path).metadata.row_group(0).column(1)
    content = bytearray(path.read_bytes())
    start = place.dictionary_page_offset or place.data_page_offset
    content[start : start + place.total_compressed_size] = b"\xff" * place.total_compressed_size
    path.write_bytes(content)
    assert read_rows(path, ["text"]).rows["text"].tolist() == rows["text"]
    with pytest.raises(TableError, match="not a valid Parquet file"):
        read_rows(path, ["image"])


def test_values_that_pandas_cannot_hold_are_refused_and_columns_of_them_that_are_not_needed_are_not(tmp_path):
    times = pa.array([0], pa.timestamp("us", tz="No/Where"))
    pq.write_table(pa.table({"text": ["a"], "time": times}), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet", ["text"]).rows["text"].tolist() == ["a"]
    for read_all in (lambda path: read_rows(path, ["time"]), read_parquet):
        with pytest.raises(TableError):
            read_all(tmp_path / "a.parquet")


def test_a_column_that_a_parquet_file_has_twice_is_refused(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(TableError, match=r"^2 columns are named 'text'; rename all but one$"):
        read_rows(tmp_path / "a.parquet", ["text"])


@pytest.mark.parametrize("name", ["image", "image.bytes", "bytes"])
def test_a_part_of_a_column_is_no_column(tmp_path, name):
    pq.write_table(pa.table({"text": ["a"], "image": [{"bytes": b"x", "path": "y"}]}), tmp_path / "a.parquet")
    if name == "image":
        assert read_rows(tmp_path / "a.parquet", [name]).rows["image"].tolist() == [{"bytes": b"x", "path": "y"}]
    else:
        with pytest.raises(MissingColumnError, match="there are text, image"):
            read_rows(tmp_path / "a.parquet", [name])
