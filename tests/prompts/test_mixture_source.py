"""Several sources at once, and a source for evaluation."""

import pytest
from pydantic import ValidationError

from rsidiff_kedro.core.prompt_table import PromptCountError
from rsidiff_kedro.prompts.sources import collect_prompts
from rsidiff_kedro.prompts.sources.file import FileSource
from rsidiff_kedro.prompts.sources.mixture import MixtureSource
from rsidiff_kedro.prompts.sources.template import TemplateSource
from rsidiff_kedro.scenes.plugins.prompt_source import GrammarSource

FOXES = {"kind": "template", "templates": ["fox {n}"], "words": {"n": [str(number) for number in range(30)]}}
OWLS = {"kind": "template", "templates": ["owl {n}"], "words": {"n": [str(number) for number in range(30)]}}


def mixture(*parts, count=10):
    return MixtureSource(count=count, sources=[{"share": share, "source": source} for share, source in parts])


def test_each_source_gives_its_share():
    table = mixture((0.7, FOXES), (0.3, OWLS)).collect(0)
    assert table["text"].str.split().str[0].value_counts().to_dict() == {"fox": 7, "owl": 3}
    assert table["prompt_id"].is_unique


def test_what_rounding_leaves_goes_to_the_largest_remainder():
    table = mixture((1 / 3, FOXES), (2 / 3, OWLS), count=10).collect(0)
    assert table["text"].str.split().str[0].value_counts().to_dict() == {"owl": 7, "fox": 3}


def test_which_prompts_of_a_source_depends_on_the_seed():
    source = mixture((1.0, FOXES))
    assert set(source.collect(0)["text"]) != set(source.collect(1)["text"])
    assert source.collect(0).equals(source.collect(0))


def test_the_grammar_gives_captions_of_its_pool():
    table = mixture((0.5, {"kind": "grammar"}), (0.5, FOXES)).collect(0)
    pool = GrammarSource().collect(0).query("split == 'pool'")["text"]
    assert set(table["split"]) == {""} and set(table["text"][:5]) <= set(pool)


def test_a_file_with_fewer_different_prompts_than_its_share_is_refused_with_their_number(tmp_path):
    (tmp_path / "a.txt").write_text("a fox\nA FOX\nan owl\n")
    source = mixture((0.5, {"kind": "file", "path": str(tmp_path / "a.txt")}), (0.5, FOXES))
    with pytest.raises(PromptCountError, match=r"file .*a\.txt has 2 different prompts, but its share of 0\.5 needs 5"):
        source.check(0)


def test_templates_with_fewer_combinations_than_their_share_are_refused_at_once():
    with pytest.raises(ValidationError, match=r"template has 30 different prompts, but its share of 1 needs 31"):
        mixture((1.0, FOXES), count=31)


def test_shares_that_are_not_one_together_are_refused():
    with pytest.raises(ValidationError, match=r"are 0\.9 together; make them 1"):
        mixture((0.5, FOXES), (0.4, OWLS))


def test_relative_paths_in_a_mixture_are_taken_from_the_project(tmp_path):
    source = mixture((1.0, {"kind": "file", "path": "a.txt"})).within(tmp_path)
    assert source.sources[0].source == FileSource(path=tmp_path / "a.txt")


def test_an_evaluation_source_marks_its_own_prompts_and_the_others_train():
    table = collect_prompts(TemplateSource(**FOXES), TemplateSource(**OWLS), seed=0)
    assert table.groupby("split")["text"].first().str.split().str[0].to_dict() == {"evaluation": "owl", "pool": "fox"}


def test_of_the_grammar_each_role_takes_its_own_captions():
    grammar = GrammarSource(count=20, evaluation_count=10)
    as_training = collect_prompts(grammar, TemplateSource(**OWLS), seed=0)
    as_evaluation = collect_prompts(TemplateSource(**FOXES), grammar, seed=0)
    captions = grammar.collect(0)
    for table, split in ((as_training, "pool"), (as_evaluation, "evaluation")):
        part = table.loc[table["source"] == "grammar"]
        assert part["text"].tolist() == captions.loc[captions["split"] == split, "text"].tolist()
        assert set(part["split"]) == {split}
