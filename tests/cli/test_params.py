"""`--params` takes lists and mappings, also those with commas in texts."""

from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rsidiff_kedro.cli import cli, run
from rsidiff_kedro.cli.params import split_items, split_params

OPTION = click.Option(["--params"])


def parse(text: str) -> Any:
    return split_params(click.Context(click.Command("run")), OPTION, text)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", {}),
        ("rounds=3, seed=1 ,", {"rounds": 3, "seed": 1}),
        ("evaluation.rewards=[hpsv2.1,image_reward]", {"evaluation": {"rewards": ["hpsv2.1", "image_reward"]}}),
        ("a={proxy: 1.0, oracle: 0.5},b=2", {"a": {"proxy": 1.0, "oracle": 0.5}, "b": 2}),
        ("a = [ [1, 2], {b: [c, d]} ],e=1", {"a": [[1, 2], {"b": ["c", "d"]}], "e": 1}),
        ('words=["a, b]", c],d=1', {"words": ["a, b]", "c"], "d": 1}),
        ("words=[it's, b],c=it's,d=1", {"words": ["it's", "b"], "c": "it's", "d": 1}),
        ("path=my [v2].csv,d=1", {"path": "my [v2].csv", "d": 1}),
        ("path=a[b,c=1", {"path": "a[b", "c": 1}),
        ("path=a=[b,c=1", {"path": "a=[b", "c": 1}),
        ("path=a]b},c=[1,2]", {"path": "a]b}", "c": [1, 2]}),
        ("a.b=null", {"a": {"b": None}}),
        ("path='Acme, Inc/prompts.csv',c=1", {"path": "Acme, Inc/prompts.csv", "c": 1}),
        ("path='it''s, here', c=\"a, \\\", b\"", {"path": "it's, here", "c": 'a, ", b'}),
        (
            "a='',b=it's,c=0,d=[0.5, '007'],e=-0.25,f=00.csv",
            {"a": "", "b": "it's", "c": 0, "d": [0.5, "007"], "e": -0.25, "f": "00.csv"},
        ),
        ("a=0891234,b=!!str 007,c=[08, 0x1F, 0]", {"a": "0891234", "b": "007", "c": ["08", 31, 0]}),
        ("a.b=1,a={c: 2},a.d.e=3,a.bc=4", {"a": {"b": 1, "c": 2, "d": {"e": 3}, "bc": 4}}),
        ("a=[1, 2],a=[1, 2],b={},b.c=null", {"a": [1, 2], "b": {"c": None}}),
    ],
)
def test_commas_within_brackets_braces_and_quotation_marks_belong_to_the_value(text: str, tree: dict[str, Any]) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize("text", ["rounds", "a=1,b", "=1", "a=[1,2],c", "a=b, c", "a=", "a=1,b= "])
def test_a_parameter_without_a_value_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"a key and a value separated by .* marks keep a value with commas"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "number", "read"),
    [
        ("a.b=0042", "0042", 34),
        ("a=-010,b=1", "-010", -8),
        ("a=[08, 07]", "07", 7),
        ("a={b: 00}", "00", 0),
        ("a={0_17: b}", "0_17", 15),
    ],
)
def test_a_number_that_yaml_reads_as_an_octal_one_is_refused(text: str, number: str, read: int) -> None:
    with pytest.raises(click.BadParameter, match=f" {number} would count as {read}, .*='{number}'"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a=1,a=2", "a"),
        ("a=1,a=true", "a"),
        ("a.b=[1,2], a.b = 3", "a.b"),
        ("a.b=1,a[b]=2", "a.b"),
        ("a=1,a.b=2", "a"),
        ("a.b=2,a=1", "a.b"),
        ("a.b=2,c=1,a.b.c.d=3", "a.b"),
        ("a=null,a[b]=2", "a"),
        ("a={b: 1},a.b=2", "a"),
        ("a.b=2,a={b: 1, c: 3}", "a.b"),
        ("a=[1, 2],a.0=3", "a"),
        ("a=[1],a.b=3", "a"),
        ("a={x: 1},a={y: 2}", "a"),
    ],
)
def test_a_parameter_that_is_given_twice_is_refused(text: str, key: str) -> None:
    with pytest.raises(click.BadParameter, match=f"'{key}' is given twice, as a whole or in parts; give one value"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        ("a.b=Prompt #2,c=1", "#2"),
        ("a=data/prompts #2.csv", "#2.csv"),
        ("a=#art", "#art"),
        ("a=[1, 2] #3", "#3"),
        ("a=ä ö #ü", "#ü"),
    ],
)
def test_what_yaml_takes_for_a_comment_is_refused(text: str, comment: str) -> None:
    with pytest.raises(click.BadParameter, match=f"{comment}' would count as a comment; put the value into quotation"):
        parse(text)


def test_a_number_sign_within_a_word_or_quotation_marks_belongs_to_the_value() -> None:
    assert parse("a=C#,b='Prompt #2',c=[\"a #1\", b]") == {"a": "C#", "b": "Prompt #2", "c": ["a #1", "b"]}


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("run --params a=1 --params b=2", "--params"),
        ("run --nodes a -n b", "--nodes"),
        ("run --load-versions=a:1 -lv b:2", "--load-versions"),
        ("run --only-missing-outputs --env=a --env=b", "--env"),
        ("rsi plan --params rounds=1 --params finetune.steps=5", "--params"),
        ("rsi runs -e a --env b", "--env"),
    ],
)
def test_an_option_that_stands_twice_is_refused(command: str, option: str) -> None:
    group = click.Group(commands={"run": run, "rsi": cli.commands["rsi"]})
    said = CliRunner().invoke(group, command.split())
    assert said.exit_code == 2
    assert f"{option} is given 2 times, and only the last would count" in said.output


def test_what_the_runner_does_not_take_is_refused() -> None:
    said = CliRunner().invoke(run, ["--runner-params=max_workers=4"])
    assert said.exit_code == 2
    assert "'max_workers', which SequentialRunner does not take; name one of is_async, " in said.output


def test_a_dataset_of_which_two_versions_are_named_is_refused() -> None:
    said = CliRunner().invoke(run, ["--load-versions=a:1,b:2,a:3"])
    assert said.exit_code == 2
    assert "'a' is named twice; name one version of it" in said.output


@pytest.mark.parametrize("text", ["a=[1,b=2", "a={b: 1,c=2", "a=[1,2]x,b=1", "a='b,c=1", 'a="b,c=1'])
def test_a_bracket_or_quotation_mark_that_stays_open_swallows_no_other_parameter_unseen(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse(text)


values = st.recursive(
    st.integers() | st.booleans() | st.none() | st.text("ab,[]{}'\"=: #", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: isinstance(value, list | dict))


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), values, min_size=1))
def test_any_list_or_mapping_comes_back_as_it_was_given(tree: dict[str, Any]) -> None:
    written = {
        name: yaml.safe_dump(value, default_flow_style=True, width=10**6).strip() for name, value in tree.items()
    }
    text = ",".join(f"{name}={value}" for name, value in written.items())
    assert parse(text) == tree
    assert len(split_items(text)) == len(tree)
