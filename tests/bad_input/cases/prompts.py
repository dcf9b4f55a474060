"""Prompts: files and other sources that cannot be read, that hold too few, or that nobody can judge."""

import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cases.case import Case, Place, SetUp, nothing, with_params

SOURCE = "prompt_curation.source"
EVALUATION = "prompt_curation.evaluation_source"
NO_JUDGE = "evaluation.judge=null"
MODEL = (
    NO_JUDGE,
    f"{SOURCE}.kind=language_model",
    f"{SOURCE}.endpoint=http://127.0.0.1:9/v1",
    f"{SOURCE}.model=m",
    f"{SOURCE}.api_key_variable=NO_SUCH_KEY",
    f"{SOURCE}.count=24",
)
FREE_TEXT = "".join(f"a castle at dawn, number {number}\n" for number in range(50))


def _written(name: str, content: str | bytes) -> SetUp:
    def set_up(place: Place) -> None:
        place.write(name, content)

    return set_up


def _file(
    wrong: str,
    name: str,
    content: str | bytes | None,
    says: str,
    *params: str,
    process: bool = False,
    late: bool = False,
) -> Case:
    """A case of a file of prompts; None as its content for no file."""
    given = (NO_JUDGE, f"{SOURCE}.kind=file", f"{SOURCE}.path={name}", *params)
    set_up = nothing if content is None else _written(name, content)
    return Case("prompts", wrong, says, with_params(*given), set_up, process, late)


def _source(wrong: str, says: str, *params: str) -> Case:
    return Case("prompts", wrong, says, with_params(*params))


def _table_of_numbers() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"text": range(50)}).to_parquet(buffer)
    return buffer.getvalue()


def _table_of_classes() -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"text": [f"a fox, number {number}" for number in range(50)], "style": [7] * 50})
    features = {"style": {"names": ["anime", "photo"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


def _link_outside(place: Place) -> None:
    place.write("prompts/a.txt", "a fox\n")
    place.write("secret.txt", "a secret\n")
    (place.project / "prompts/b.txt").symlink_to("../secret.txt")


def _data_set(**files: str) -> SetUp:
    def set_up(place: Place) -> None:
        place.write("secret.txt", "a secret\n")
        for name, content in {"train.txt": "a fox\n", **files}.items():
            place.write(f"set/{name}", content)

    return set_up


def _names(path: str) -> str:
    return f"---\nconfigs:\n- config_name: default\n  data_files: {path}\n---\n"


def _empty_folder(place: Place) -> None:
    (place.project / "prompts").mkdir()


_TEXT = (
    _file("the file is missing", "prompts.txt", None, "prompts.txt: no such file", process=True),
    _file(
        "a kind of file that is not read", "prompts.docx", "x", "unknown kind of prompt file '.docx'; use one of .txt"
    ),
    _file("the file is empty", "prompts.txt", "", "the file is empty; give at least one row"),
    _file(
        "the file is in Latin-1", "prompts.txt", b"a caf\xe9 by night\n", "byte 0xe9 at position 5); save it as UTF-8"
    ),
    _file("the file holds one prompt, 50 times", "prompts.txt", "a red circle\n" * 50, "holds 1 different prompts"),
    _file(
        "every prompt is longer than the text encoder reads",
        "prompts.txt",
        "".join(f"a red circle{' on a black background' * (500 + number)}\n" for number in range(50)),
        "no prompt is left after the filters; the table rejected_by_filter",
        late=True,
    ),
    Case(
        "prompts",
        "the folder of files is empty",
        "the folder holds no prompt file; use .txt",
        with_params(NO_JUDGE, f"{SOURCE}.kind=file", f"{SOURCE}.path=prompts"),
        _empty_folder,
    ),
    Case(
        "prompts",
        "a link leaves the folder of files",
        "b.txt: a link to a file outside of the folder; put the file itself",
        with_params(NO_JUDGE, f"{SOURCE}.kind=file", f"{SOURCE}.path=prompts"),
        _link_outside,
    ),
)

_TABLES = (
    _file(
        "the table has no column of prompts",
        "p.csv",
        "caption,note\na fox,new\n",
        "no column 'text'; there are caption, note",
        process=True,
    ),
    _file("the first prompt in place of a header", "p.csv", FREE_TEXT.replace(",", ""), "may be a prompt"),
    _file("a header in the middle", "p.csv", "text\na fox\ntext\na hare\n", "line 3 repeats the header"),
    _file("two columns of prompts", "p.csv", "text,text\na,b\n", "2 columns are named 'text'; rename all but one"),
    _file(
        "a prompt with a comma that is not quoted", "p.csv", "text\na castle, at night\n", "quote prompts that hold the"
    ),
    _file(
        "no column of categories", "p.tsv", "text\tkind\na\tb\n", "no column 'style'", f"{SOURCE}.category_column=style"
    ),
    _file(
        "a prompt in CSV with a lone quotation mark",
        "p.csv",
        'text,style\na fox,photo\n"Stop" sign,photo\n',
        "not a valid csv file (the row that begins in line 3",
    ),
    _file("a key twice in a line", "p.jsonl", '{"text": "a", "text": "b"}\n', "the key 'text' stands twice"),
    _file(
        "a class without a name",
        "p.parquet",
        _table_of_classes(),
        "holds class 7, but its features name 2 classes; correct the features",
        f"{SOURCE}.category_column=style",
    ),
    _file("JSON that is cut", "p.json", '["a fox", ', "p.json: not valid JSON"),
    _file("JSON of an object", "p.json", '{"prompts": []}', "a JSON object, but prompts are a list"),
    _file("a JSON list of numbers", "p.json", "[1, 2]", "the list holds number items; give a list of texts"),
    _file("a line that is no JSON", "p.jsonl", '{"text": "a fox"}\na hare\n', "line 2 is not valid JSON"),
    _file("a prompt that is a list", "p.jsonl", '{"text": ["a fox"]}\n', "but a prompt is a text; name the column"),
    _file("Parquet that is none", "p.parquet", b"PAR1" * 3, "not a valid Parquet file"),
    _file("prompts that are numbers", "p.parquet", _table_of_numbers(), "but a prompt is a text; name the column"),
)

_SOURCES = (
    _source("a source without its path", "'prompt_curation.source.path' is missing; set it", f"{SOURCE}.kind=file"),
    _source(
        "a data set without a revision", "give a commit or tag", f"{SOURCE}.kind=hub", f"{SOURCE}.dataset=owner/name"
    ),
    _source(
        "a data set that is not there", "the data set cannot be read", f"{SOURCE}.kind=hub", f"{SOURCE}.dataset=./no"
    ),
    *(
        Case(
            "prompts",
            f"a data set that names {what}",
            f"README.md names {path!r}; name files of the data set alone",
            with_params(NO_JUDGE, f"{SOURCE}.kind=hub", f"{SOURCE}.dataset=./set"),
            _data_set(**{"README.md": _names(path)}),
        )
        for what, path in (("a file beside it", "../secret.txt"), ("a file of the machine", "file:///etc/hostname"))
    ),
    _source(
        "a language model without its key", "'NO_SUCH_KEY' with the key of http://127.0.0.1:9/v1 is not set", *MODEL
    ),
    _source(
        "an endpoint that is no address", "such as http://localhost:8000/v1", *MODEL, f"{SOURCE}.endpoint=localhost"
    ),
    _source("too few tokens for one request", "raise it or lower max_tokens", *MODEL, f"{SOURCE}.total_tokens=9"),
    _source("a language model is asked for too few", "21 different prompts, but", *MODEL, f"{SOURCE}.count=21"),
    _source(
        "a mixture of nothing",
        "'prompt_curation.source.sources'",
        f"{SOURCE}.kind=mixture,{SOURCE}.count=24",
        f"{SOURCE}.sources=[]",
    ),
    _source(
        "the evaluation's file is missing",
        "no.txt: no such file",
        f"{EVALUATION}.kind=file",
        f"{EVALUATION}.path=no.txt",
    ),
)


def _configured(**source: object) -> SetUp:
    """The source of conf/test, as lists cannot be given on the command line."""

    def set_up(place: Place) -> None:
        place.write("conf/test/parameters_source.yml", json.dumps({"prompt_curation": {"source": source}}))
        path = place.project / "conf/test/parameters.yml"
        path.write_text(path.read_text().replace("  source: {count: 24, evaluation_count: 12}\n", ""))

    return set_up


def _template(wrong: str, says: str, **source: object) -> Case:
    return Case("prompts", wrong, says, with_params(NO_JUDGE), _configured(kind="template", **source))


_TEMPLATES = (
    _template(
        "templates with fewer combinations than asked for",
        "count is 3, and the templates have 2 combinations",
        templates=["a {color} fox"],
        words={"color": ["red", "gray"]},
        count=3,
    ),
    _template("a slot without words", "no words for the slots ['animal']", templates=["a {animal}"], words={}),
    _template("a brace that is not closed", "write {{ and }} for braces of the text", templates=["a {color fox"]),
)

_JUDGED = (
    _file(
        "free text before the judge of scenes",
        "p.txt",
        FREE_TEXT,
        "set evaluation.judge=null",
        "evaluation.judge=scenes",
    ),
    _file(
        "free text before the oracle",
        "p.txt",
        FREE_TEXT,
        "the reward 'oracle' cannot read the prompt 'a castle at dawn, number 0'; use",
        "evaluation.rewards=[oracle]",
    ),
    Case(
        "prompts",
        "too few prompts for evaluation",
        "evaluation_source holds 9 different prompts, but validation_size (4) and test_size (6) need 10",
        with_params(NO_JUDGE, f"{EVALUATION}.kind=file", f"{EVALUATION}.path=benchmark.json"),
        _written("benchmark.json", json.dumps([f"a fox, number {number}" for number in range(9)])),
    ),
)


def _cut_pool(place: Place) -> None:
    path = next((place.finish_a_run() / "03_primary/prompt_pool.parquet").glob("*/*.parquet"))
    path.write_bytes(path.read_bytes()[:200])


_EARLIER = (
    Case(
        "prompts",
        "the pool of an earlier run is cut",
        "make the dataset anew, or load another version of it with --load-versions",
        ("run", "--env=test", "--namespaces=rsi.round_2.synthesis"),
        _cut_pool,
    ),
)

CASES = (*_TEXT, *_TABLES, *_SOURCES, *_TEMPLATES, *_JUDGED, *_EARLIER)
