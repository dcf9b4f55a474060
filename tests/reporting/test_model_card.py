"""A model card shows what it is told as text, and leaks nothing of this machine."""

import pytest
import yaml
from huggingface_hub import ModelCard

from rsidiff_kedro.prompts.sources import SOURCES
from rsidiff_kedro.prompts.sources.source import Source
from rsidiff_kedro.provenance.records import Record
from rsidiff_kedro.reporting.model_card import CardFacts, Example, model_card, plain

PLACES = (
    "/home/secret/x.csv",
    "~/secret place/x.csv",
    "C:\\secret\\x.csv",
    "file:///secret/x.csv",
    "../secret, Inc. (2026)/x.csv",
    "$HOME/secret/x.csv",
    "smb://secret/x.csv",
)
HOSTILE = (
    "x | [a](javascript:alert(1)) <script>alert(1)</script> `code`\n---\n# {{ title }} hf_abcdefghijklmnopqrstuvwx"
)


def card(metrics, scores, **changes) -> ModelCard:
    step = Record(
        step="make", version="v1", outputs={"rsi.round_2.adapter": "d"}, code="c0de", assets="a",
        libraries={"torch": "2"}, parameters={}, inputs={},
    )  # fmt: skip
    values = {
        "name": "adapter",
        "base": "owner/model",
        "on_hub": True,
        "licence": None,
        "number": 2,
        "how": "chosen by hand",
        "info": {"round": 2, "seed": 0, "parent": "p", "revision": "abc", "images": 9, "finetune": {"rank": 4}},
        "digest": "d1",
        "metrics": metrics,
        "base_scores": scores[0],
        "scores": scores[2],
        "tested": 2,
        "selecting": {"proxy": "with weight 1"},
        "parameters": {"prompt_curation.source.kind": "file", "prompt_curation.source.path": "/home/me/prompts.csv"},
        "run": "v1",
        "records": [step],
        "usage": "load it",
        "examples": [Example("a red circle", "images/0_base.png", "images/0_adapter.png")],
    }
    return model_card(CardFacts(**values | changes), 20, 0)


def test_a_hub_model_is_linked_and_its_licence_applies(metrics, scores) -> None:
    made = card(metrics, scores)
    assert (made.data.license, made.data.license_name) == ("other", "as-the-base-model")
    assert made.data.license_link == "https://huggingface.co/owner/model"
    assert "[owner/model](https://huggingface.co/owner/model), revision abc" in made.text
    assert "source file, prompts.csv" in made.text and "/home/me" not in str(made)


def test_all_sources_of_prompts_are_named(metrics, scores) -> None:
    mixed = [{"kind": "file", "path": "/home/me/a.csv"}, {"kind": "hub", "dataset": "o/d"}]
    training = {"kind": "mixture", "sources": [{"share": 0.5, "source": source} for source in mixed]}
    sources = {"source": training, "evaluation_source": {"kind": "file", "path": "b.csv"}}
    parameters = {f"prompt_curation.{part}.{name}": sources[part][name] for part in sources for name in sources[part]}
    text = card(metrics, scores, parameters=parameters).text
    assert "- Prompts: source mixture (source file, a.csv; source hub, o/d); for evaluation source file, b.csv." in text
    own = {"prompt_curation.source.kind": "mine:Merged", "prompt_curation.source.sources": ["circles"]}
    assert "- Prompts: source mine:Merged." in card(metrics, scores, parameters=own).text


def test_an_adapter_that_changes_nothing_is_called_so(metrics, scores) -> None:
    text = card(metrics, scores, info={"round": 0, "seed": 0, "images": None}).text
    assert "which changes nothing" in text and "Training" not in text


@pytest.mark.parametrize("place", PLACES)
def test_no_setting_tells_where_files_lie(metrics, scores, place: str) -> None:
    sources = {name: SOURCES.load(name) for name in SOURCES.names}
    sources |= {"my_prompts:Mine": type("Mine", (Source,), {"__annotations__": {"folder": str, "paths": list[str]}})}
    assert {"file", "hub", "language_model"} <= sources.keys()
    for kind, source in sources.items():
        read = {f"prompt_curation.source.{name}": place for name in source.model_fields if name != "kind"}
        tables = [table.copy() for table in scores]
        tables[2].attrs["rewards"] = {"proxy": {"file": place, "sha256": "5ec"}}
        made = card(
            metrics,
            tables,
            parameters=read | {"prompt_curation.source.kind": kind},
            base=place,
            on_hub=False,
            info={"round": 2, "seed": place, "parent": place, "revision": place, "images": 9}
            | {"finetune": {"target_modules": [place, place], "path": place, "options": {"init": place}}},
            selecting={"proxy": f"with weight 1 of {place!r}"},
            usage=f"pipeline = DiffusionPipeline.from_pretrained({place!r})",
        )
        assert "secret" not in str(made)
        assert made.data.base_model == "x.csv" and "(file x.csv, sha256 5ec)" in made.text
        assert "from_pretrained('x.csv')" in made.text and f"source {plain(kind)}" in made.text


def test_the_table_names_roles_and_the_gate(metrics, scores) -> None:
    text = card(metrics, scores).text
    assert "| reward proxy (selects) |" in text and "| diversity within a prompt |" in text
    assert "The gate rejected the candidates of rounds 2." in text
    kept = card(metrics, scores, info={"round": 1, "finetune": {}}).text
    assert "the gate kept the adapter of round 1" in kept


def test_a_card_says_where_there_was_no_gate(metrics, scores) -> None:
    def gate(*enabled: float, accepted: float = 1.0) -> str:
        for each, value in zip(metrics, enabled, strict=True):
            each |= {"gate/enabled": value, "gate/accepted": accepted}
        return card(metrics, scores).text

    assert "There was no gate, so every candidate was used." in gate(0.0, 0.0, 0.0)
    assert "The gate rejected no candidate. It was off in rounds 2." in gate(0.0, 1.0, 0.0)
    text = gate(0.0, 1.0, 1.0)
    assert "The gate rejected no candidate." in text and "It was off" not in text
    assert "The gate rejected the candidates of rounds 1, 2." in gate(0.0, 1.0, 1.0, accepted=0.0)


def test_a_reward_that_selects_by_a_floor_is_said_to_select(metrics, scores) -> None:
    more = [{**each, "test/reward/clip": 1.0} for each in metrics]
    tables = [table.assign(clip=1.0) for table in scores]
    text = card(more, tables, selecting={"proxy": "with weight 1", "clip": "by a floor"}).text
    assert "| reward clip (selects) |" in text
    assert "- Rewards that selected the training images: proxy with weight 1, clip by a floor." in text


def test_where_nothing_selected_all_rewards_are_held_out(metrics, scores) -> None:
    text = card(metrics, scores, selecting={}).text
    assert "| reward proxy (held out) |" in text and "- Rewards that selected the training images: none." in text
    assert "No reward selected the training images, so all are held out." in text


def test_a_hostile_prompt_stays_text(metrics, scores) -> None:
    made = card(metrics, scores, examples=[Example(HOSTILE, "images/0_base.png", "images/0_adapter.png")])
    assert "<script>" not in made.text and "](javascript" not in made.text and "hf_abc" not in str(made)
    (row,) = [line for line in made.text.splitlines() if "images/0_base.png" in line]
    assert row.count("|") == 4
    header = yaml.safe_load(str(made).split("\n---\n")[0].removeprefix("---\n"))
    assert header["widget"][0]["text"].startswith("x | [a]") and header["base_model"] == "owner/model"


@pytest.mark.parametrize("text", ["a *b* _c_", "<b>", "a\nb", "\x1b[31m", "&amp;", "猫"])
def test_plain_text_has_no_mark_of_markdown_or_html(text: str) -> None:
    shown = plain(text)
    assert not set("*<>[]`|\n\x1b") & set(shown)
