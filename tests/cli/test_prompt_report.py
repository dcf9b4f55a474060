"""The report on a file of prompts."""

import errno
import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from rsidiff_kedro.cli.prompt_report import prompts as prompt_report
from rsidiff_kedro.prompts.sources.language_model import LanguageModelSource
from rsidiff_kedro.scenes import BASE_FOLDER

TABLE = "Prompt\tCategory\na red fox\tAnimals\na red | fox!\tAnimals\nfox\tArts\n" + "fox " * 40 + "\tArts\n"


@pytest.fixture
def prompts(project: Path) -> str:
    (project / "prompts.tsv").write_text(TABLE)
    return "prompts.tsv"


def report(*arguments: str) -> str:
    result = CliRunner().invoke(prompt_report, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def error(*arguments: str) -> str:
    result = CliRunner().invoke(prompt_report, list(arguments))
    assert result.exit_code == 1 and result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
    return result.output


def test_every_rule_is_counted_with_an_example(prompts: str) -> None:
    lines = report(prompts, "--column", "Prompt").splitlines()
    assert "| kept | 1 | 25.0% |  |" in lines
    assert "| too_short | 1 | 25.0% | fox (1 words; at least 2 are needed) |" in lines
    assert any(line.startswith("| near_duplicate | 1 | 25.0% | a red \\| fox! (nearly the same as") for line in lines)
    assert any(line.startswith("| too_long | 1 |") for line in lines)


def test_categories_and_lengths_are_counted(prompts: str) -> None:
    lines = report(prompts, "--column", "Prompt", "--category-column", "Category").splitlines()
    assert "| Animals | 2 | 1 |" in lines and "| Arts | 2 | 0 |" in lines
    assert "| more than 16 | 1 | 25.0% |" in lines


def test_it_says_what_was_counted_and_with_which_tokenizer(prompts: str) -> None:
    text = report(prompts, "--column", "Prompt")
    assert "4 prompts of prompts.tsv (SHA-256 " in text
    assert "tokenizer scenes with 169 entries; 16 tokens are read" in text
    assert "spells the others by letters" in text


def test_another_tokenizer_and_limit_can_be_named(prompts: str) -> None:
    text = report(prompts, "--column", "Prompt", "--tokenizer", str(BASE_FOLDER / "tokenizer"), "--max-tokens", "200")
    assert "200 tokens are read" in text and "| too_long | 0 | 0.0% |  |" in text


def test_a_tokenizer_without_a_limit_is_read_with_the_one_that_is_given(prompts: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BASE_FOLDER / "tokenizer", tmp_path / "tokenizer"))
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"model_max_length": 10**30}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    named = (prompts, "--column", "Prompt", "--tokenizer", str(folder))
    assert "or set --max-tokens" in error(*named)
    assert "77 tokens are read" in report(*named, "--max-tokens", "77")


def test_without_a_file_the_configured_prompts_are_counted(project: Path) -> None:
    text = report("--env", "test")
    assert "36 prompts of the grammar source in conf/;" in text and "| kept | 36 | 100.0% |  |" in text


def test_the_evaluation_source_tells_which_configured_prompts_repeat_as_in_a_run(project: Path) -> None:
    texts = ["a blue circle left of a red square", "a blue circle left of a red circle"]  # two scenes, nearly alike
    (project / "alike.txt").write_text("\n".join(texts))
    (project / "conf" / "local").mkdir(exist_ok=True)
    (project / "conf" / "local" / "parameters.yml").write_text(
        "prompt_curation:\n  source: {kind: file, path: alike.txt}\n"
        "  evaluation_source: {kind: grammar, count: 20, evaluation_count: 300}\n"
        "  filters: {min_words: 2, near_duplicate_threshold: 0.3}\n"
    )
    assert "| near_duplicate_of_evaluation | 0 | 0.0% |" in report()


def test_what_cannot_be_read_ends_in_one_line(prompts: str, project: Path) -> None:
    assert "no column 'text'; there are Prompt, Category" in error(prompts)
    assert "none.txt: no such file" in error("none.txt")
    assert "no tokenizer in" in error(prompts, "--column", "Prompt", "--tokenizer", str(project))


@pytest.mark.parametrize(("lacking", "said"), [("openai", "pip install openai"), ("cache", "cannot be written (")])
def test_what_a_paid_source_lacks_is_said_before_anything_is_asked(
    project: Path, monkeypatch: pytest.MonkeyPatch, lacking: str, said: str
) -> None:
    (project / "conf" / "local").mkdir(exist_ok=True)
    (project / "conf" / "local" / "parameters.yml").write_text(
        "prompt_curation:\n  source:\n    kind: language_model\n    endpoint: http://127.0.0.1:9/v1\n"
        "    model: m\n    count: 600\n    api_key_variable: null\n"
    )

    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    if lacking == "openai":
        monkeypatch.setitem(sys.modules, "openai", None)  # as where it is not installed
    else:
        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(LanguageModelSource, "collect", lambda *_: pytest.fail("it was asked"))
    assert said in error()


def test_an_unknown_environment_is_a_usage_error(prompts: str) -> None:
    result = CliRunner().invoke(prompt_report, [prompts, "--env", "nowhere"])
    assert result.exit_code == 2
    assert "there is no environment 'nowhere'" in result.output.splitlines()[-1]
