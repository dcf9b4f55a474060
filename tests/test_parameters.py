"""The parameter tree: what is accepted, and what the message says about what is not."""

import math
import re
import sys
import uuid
from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from rsidiff_kedro import settings
from rsidiff_kedro.core.validation import fields_of
from rsidiff_kedro.evaluation.settings import ENDS
from rsidiff_kedro.parameters import ParameterError, parse_parameters, schema
from rsidiff_kedro.pipelines.plan import count_images
from rsidiff_kedro.prompts.sources import SOURCES, PromptSource
from rsidiff_kedro.prompts.sources.file import FileSource
from rsidiff_kedro.prompts.sources.template import TemplateSource
from rsidiff_kedro.scenes.pretraining.pretraining_settings import BaseModelSettings

ROOT = Path(__file__).parents[1]


def load(env: str | None = None, **runtime: Any) -> dict[str, Any]:
    loader = settings.CONFIG_LOADER_CLASS(
        str(ROOT / "conf"), env=env, runtime_params=runtime or None, **settings.CONFIG_LOADER_ARGS
    )
    return loader["parameters"]


def names_written_in(path: Path) -> set[str]:
    """Return what a file of parameters names, in YAML or in a comment of the form `# name, name: set`."""

    def as_yaml(comment: re.Match[str]) -> str:
        return "\n".join(f"{comment[1]}{name}: null" for name in comment[2].split(", "))

    text = path.read_text(encoding="utf-8")
    # A section that holds nothing but such comments is written as `{}` or null, with the comment behind it or below.
    text = re.sub(r"^( *)(\w+): (?:\{\}|null) +(# [a-z_, ]+: set)\b.*$", r"\1\2: {}\n\1  \3", text, flags=re.MULTILINE)
    text = re.sub(r"^( *)# ([a-z_, ]+): set\b.*$", as_yaml, text, flags=re.MULTILINE)
    return names_in(yaml.safe_load(re.sub(r": \{\}(?=.*\n +[a-z])", ":", text)))


def names_in(tree: dict[str, Any], prefix: str = "") -> set[str]:
    names = set()
    for key, value in tree.items():
        names.add(prefix + key)
        if isinstance(value, dict):
            names |= names_in(value, f"{prefix}{key}.")
    return names


def message_for(**runtime: Any) -> str:
    with pytest.raises(ParameterError) as caught:
        parse_parameters(load(**runtime))
    return str(caught.value)


def test_the_shipped_parameters_are_valid() -> None:
    assert parse_parameters(load()).rounds == 6


def test_the_test_environment_shrinks_only_what_it_names() -> None:
    parameters = parse_parameters(load("test"))
    assert parameters.rounds == 2
    assert parameters.sampler.guidance_scale == parse_parameters(load()).sampler.guidance_scale


@pytest.mark.parametrize("environment", ["sd14", "sd3", "flux", "sana", "sd14_quick", "sd3_quick"])
def test_the_parameters_of_stable_diffusion_are_valid(environment: str) -> None:
    parameters = parse_parameters(load(environment))
    assert parameters.prompt_curation.source.kind == "hub"
    assert not parameters.model_extra


@pytest.mark.parametrize("environment", ["sd14", "sd3"])
def test_a_quick_run_is_a_small_part_of_the_experiment(environment: str) -> None:
    whole, quick = (parse_parameters(load(name)) for name in (environment, f"{environment}_quick"))
    assert (quick.model, quick.preference_selection, quick.weighting) == (
        whole.model,
        whole.preference_selection,
        whole.weighting,
    )
    assert count_images(quick).generated == 800
    assert count_images(quick).images < min(1_300, count_images(whole).images / 10)


def test_the_second_base_differs_in_little_from_the_first() -> None:
    first, second = parse_parameters(load()).model_dump(), parse_parameters(load("scenes_sd3")).model_dump()
    for each in (first, second):
        del each["rewards"]["votes"]["votes"]  # lies in the environment's own data
    assert {name for name in first if first[name] != second[name]} <= {"model", "base_model", "sampler", "synthesis"}


def test_a_denoiser_is_of_a_kind_that_there_is() -> None:
    message = message_for(base_model={"denoiser": {"kind": "dit"}})
    assert "'base_model.denoiser.kind' is 'dit': input should be 'unet' or 'mmdit'" in message


def test_conf_base_alone_lacks_what_depends_on_the_model() -> None:
    with pytest.raises(ParameterError) as caught:
        parse_parameters(load("base"))
    lacking = ["model.base", "prompt_curation.source", "preference_selection.rewards", "weighting.features"]
    assert all(f"parameter '{name}' is missing; set it" in str(caught.value) for name in lacking)


def test_every_parameter_is_written_down_in_conf_base() -> None:
    files = [*(ROOT / "conf/base").glob("parameters*.yml"), ROOT / "conf/scenes/parameters_base_model.yml"]
    known = {name for name, _ in fields_of(schema()) if "source." not in name}
    assert known - set().union(*map(names_written_in, files)) == set()
    assert {name for name in names_written_in(files[-1]) if not name.startswith("base_model")} == set()


@pytest.mark.parametrize("kind", SOURCES.names)
def test_every_kind_of_source_is_written_down_in_conf_base_with_all_its_parameters(kind: str) -> None:
    text = (ROOT / "conf/base/parameters_prompt_curation.yml").read_text()
    part = re.search(rf"kind: {kind}\b.*?(?=kind: |$)" if kind != "mixture" else "kind: mixture.*", text, re.DOTALL)
    assert part is not None
    assert {name for name in SOURCES.load(kind).model_fields if f" {name}:" not in f" {part[0]}"} == set()


def test_every_section_refuses_unknown_names() -> None:
    models = [field.annotation for _, field in fields_of(schema()) if hasattr(field.annotation, "model_config")]
    models += [SOURCES.load(kind) for kind in SOURCES.names]
    assert len(models) > 20
    assert all(model.model_config["extra"] == "forbid" for model in [schema(), BaseModelSettings, *models])


@pytest.mark.parametrize("rounds", [0, -1, 101, "abc", 1.5, True, None, "2; drop"])
def test_rounds_other_than_1_to_100_are_refused_with_the_value_and_the_range(rounds: Any) -> None:
    message = message_for(rounds=rounds)
    assert f"parameter 'rounds' is {rounds!r}" in message
    assert ">= 1 and <= 100" in message


@pytest.mark.parametrize("rounds", [1, 100])
def test_the_ends_of_the_range_of_rounds_are_accepted(rounds: int) -> None:
    assert parse_parameters(load(rounds=rounds)).rounds == rounds


def test_an_unknown_parameter_is_answered_with_the_nearest() -> None:
    assert "unknown parameter 'round'; did you mean 'rounds'?" in message_for(round=3)


def test_an_unknown_parameter_deep_in_the_tree_is_answered_with_its_path() -> None:
    message = message_for(prompt_curation={"probe": {"sampler": {"guidence_scale": 2}}})
    assert "'prompt_curation.probe.sampler.guidence_scale'" in message
    assert "did you mean 'prompt_curation.probe.sampler.guidance_scale'?" in message


def test_a_parameter_at_the_wrong_depth_is_answered_with_the_right_one() -> None:
    assert "did you mean 'prompt_curation.pool_size'?" in message_for(pool_size=3)


def test_a_misspelled_source_setting_is_answered_with_the_nearest_of_its_kind() -> None:
    message = message_for(prompt_curation={"source": {"cuont": 3}})
    assert "'prompt_curation.source.cuont'; did you mean 'prompt_curation.source.count'?" in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_parameter_is_infinite_or_no_number(value: float) -> None:
    names = [
        f"{name}.proxy" if "dict" in str(field.annotation) else name
        for name, field in fields_of(schema())
        if re.search(r"\bfloat\b", str(field.annotation)) and "source." not in name
    ]
    assert {"gate.tolerance", "preference_selection.floors.proxy", "finetune.min_snr_gamma"} <= set(names)
    shipped = load()
    for name in names:
        tree = deepcopy(shipped)
        *sections, key = name.split(".")
        reduce(lambda part, section: part[section], sections, tree)[key] = value
        with pytest.raises(ParameterError, match=f"parameter '{name}' is {value}"):
            parse_parameters(tree)


@pytest.mark.parametrize("value", [True, False])
def test_no_number_is_true_or_false(value: bool) -> None:
    """YAML reads `off`, `no` and `yes` so; as numbers they would be the strictest limit, or 1."""
    numbers = {
        name: str(field.annotation)
        for name, field in fields_of(schema())
        if re.search(r"\b(int|float)\b", str(field.annotation)) and "early_dropping" not in name
    }
    assert {"preference_selection.max_gap", "preference_selection.rewards", "finetune.rank", "keep.runs"} <= {*numbers}
    shipped = load()
    for name, kind in numbers.items():
        tree = deepcopy(shipped)
        *sections, key = name.split(".")
        section = reduce(lambda part, section: part.setdefault(section, {}), sections, tree)
        section[key] = {"proxy": value} if "dict" in kind else [value] if "tuple" in kind else value
        with pytest.raises(ParameterError) as caught:
            parse_parameters(tree)
        assert str(caught.value).startswith(f"parameter '{name}")


def test_the_way_to_lift_a_limit_is_named() -> None:
    message = message_for(preference_selection={"max_gap": False})
    assert message == "parameter 'preference_selection.max_gap' is False: it should be a number, or null for none"


def test_all_problems_come_in_one_line() -> None:
    message = message_for(rounds=0, sampler={"guidance_scale": 0.5}, nonsense=1)
    assert all(name in message for name in ("rounds", "sampler.guidance_scale", "nonsense"))
    assert "\n" not in message


def test_the_grammars_settings_are_dropped_when_the_source_becomes_a_file() -> None:
    parameters = parse_parameters(load(prompt_curation={"source": {"kind": "file", "path": "prompts.txt"}}))
    assert isinstance(parameters.prompt_curation.source, FileSource)


def test_the_grammars_settings_are_dropped_when_the_source_becomes_templates() -> None:
    source = {
        "kind": "template",
        "templates": ["a {color} fox"],
        "words": {"color": ["red", "blue", "gray"]},
        "count": 3,
    }
    sizes = {"pool_size": 1, "prompts_per_round": 1, "validation_size": 1, "test_size": 1}
    parameters = parse_parameters(load(prompt_curation={"source": source, **sizes}))
    assert isinstance(parameters.prompt_curation.source, TemplateSource)


def test_a_setting_out_of_range_names_the_range_of_its_own_kind_of_source() -> None:
    assert "(allowed: >= 1 and <= 10000)" in message_for(prompt_curation={"source": {"count": -1}})


def test_a_misspelled_setting_of_a_part_of_a_mixture_is_named_by_its_place() -> None:
    parts = [{"share": 1.0, "source": {"kind": "file", "path": "a.txt", "colum": "prompt"}}]
    source = {"kind": "mixture", "count": 400, "sources": parts}
    assert "unknown parameter 'prompt_curation.source.sources.0.source.colum'" in (
        message_for(prompt_curation={"source": source})
    )


def test_every_example_of_the_docs_is_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/prompts.md").read_text(), re.DOTALL)
    examples = [yaml.safe_load(block) for block in blocks]
    assert len(examples) >= 7
    for example in examples:
        sources = {key: value for key, value in example.get("prompt_curation", example).items() if "source" in key}
        assert sources
        for settings_of_it in sources.values():
            TypeAdapter(PromptSource).validate_python(settings_of_it)


def test_an_evaluation_source_is_checked_as_the_other_is() -> None:
    evaluation = {"kind": "file", "path": "a.txt", "colum": "prompt"}
    assert "'prompt_curation.evaluation_source.colum'; did you mean 'prompt_curation.evaluation_source.column'?" in (
        message_for(prompt_curation={"evaluation_source": evaluation})
    )


def test_a_misspelled_setting_of_a_file_source_is_still_refused() -> None:
    source = {"kind": "file", "path": "prompts.txt", "colum": "prompt"}
    assert "did you mean 'prompt_curation.source.column'?" in message_for(prompt_curation={"source": source})


OWN = """
from typing import Literal

from pydantic import Field

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.prompts.sources.source import Source


class Countdown(Source):
    kind: Literal["{kind}"] = "{kind}"
    start: int = Field(ge=1, le=9999)

    def collect(self, seed):
        return prompt_table([f"{{number}} foxes" for number in range(self.start, 0, -1)], "countdown")
"""


@pytest.fixture
def own_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Write a source into a module that can be imported; return its kind."""
    module = f"own_source_{uuid.uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(OWN.format(kind=f"{module}:Countdown"))
    monkeypatch.syspath_prepend(tmp_path)
    yield f"{module}:Countdown"
    sys.modules.pop(module, None)


def test_a_source_may_be_of_a_users_own_kind(own_kind: str) -> None:
    parameters = parse_parameters(load(prompt_curation={"source": {"kind": own_kind, "start": 900}}))
    assert len(parameters.prompt_curation.source.collect(0)) == 900
    assert parameters.model_dump()["prompt_curation"]["source"] == {"kind": own_kind, "start": 900}


def test_a_wrong_setting_of_a_users_own_kind_is_named_with_its_range_or_with_the_nearest(own_kind: str) -> None:
    source = {"kind": own_kind, "start": 0}
    assert "'prompt_curation.source.start' is 0" in (message := message_for(prompt_curation={"source": source}))
    assert "(allowed: >= 1 and <= 9999)" in message
    misspelled = message_for(prompt_curation={"source": {"kind": own_kind, "strat": 3}})
    assert "'prompt_curation.source.strat'; did you mean 'prompt_curation.source.start'?" in misspelled
    assert "parameter 'prompt_curation.source.start' is missing; set it" in misspelled


def test_an_unknown_kind_of_source_is_answered_with_those_there_are() -> None:
    message = message_for(prompt_curation={"source": {"kind": "flie"}})
    assert "parameter 'prompt_curation.source': unknown prompt source 'flie'; there are file, hub, template," in message


@pytest.mark.parametrize("end", [end for end in ENDS if end])
def test_a_reward_with_the_name_of_anothers_results_is_refused(end: str) -> None:
    plain, other = "my_rewards:bright", f"my_rewards:bright{end}"
    selects = {"proxy": 0, plain: 1.0}
    for message in (
        message_for(evaluation={"rewards": ["oracle", other, plain]}),
        message_for(evaluation={"rewards": [other]}, preference_selection={"rewards": selects}),
    ):
        assert f"the reward {other!r} has the name under which results of the reward {plain!r} are reported" in message
        assert "rename one of the two functions" in message
    apart = parse_parameters(load(evaluation={"rewards": [other, f"my_rewards:b{end}"]}))
    assert apart.evaluation.rewards == (other, f"my_rewards:b{end}")


def test_a_wrong_setting_of_the_gate_is_named() -> None:
    assert "parameter 'gate.tolerance' is -1" in message_for(gate={"tolerance": -1})
    assert "'gate.tolerence'; did you mean 'gate.tolerance'?" in message_for(gate={"tolerence": 1})
    assert "unknown parameter 'evaluation.gate'" in message_for(evaluation={"gate": {"tolerance": 0.25}})
