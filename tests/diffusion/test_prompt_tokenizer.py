"""Tokens of prompts are counted as the opened model counts them, with the tokenizer alone."""

import json
import shutil

import pytest
from transformers import GemmaTokenizer

from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.opening import load_model, open_tokenizer
from rsidiff_kedro.diffusion.prompt_tokenizer import PromptTokenizer, open_named_tokenizer, open_prompt_tokenizer
from rsidiff_kedro.diffusion.settings import ModelSettings

TEXTS = ["a red circle", "", "a " * 40, "a large blue square left of a cat", "красный круг, «1:2»"]


@pytest.fixture
def tokenizer_folder(model_folder, tmp_path):
    """Return a model's folder in which everything but the index and the tokenizer is missing."""
    shutil.copytree(model_folder / "tokenizer", tmp_path / "model" / "tokenizer")
    shutil.copy(model_folder / "model_index.json", tmp_path / "model")
    return tmp_path / "model"


def refused(base, **options):
    with pytest.raises(ModelError) as caught:
        open_prompt_tokenizer(str(base), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES.names)
def test_counts_are_those_of_the_opened_model(family_folder, family):
    folder = str(family_folder(family))
    model = ModelSettings(family=family, base=folder)
    alone, of_the_model = open_tokenizer(model), load_model(model).tokenizer
    assert alone.count(TEXTS) == of_the_model.count(TEXTS)
    assert alone.max_tokens == of_the_model.max_tokens
    assert len(alone) == len(of_the_model)


@pytest.mark.parametrize(
    ("family", "options", "edit", "expected"),
    [
        ("stable_diffusion_3", {}, {}, [(11, 16), (20, 16)]),
        ("stable_diffusion_3", {"max_sequence_length": 14}, {"tokenizer_3": 10}, [(11, 16), (20, 16)]),
        ("stable_diffusion_3", {"max_sequence_length": 13}, {"tokenizer_3": 10}, [(14, 13), (20, 16)]),
        ("stable_diffusion_3", {}, {"tokenizer_2": 10}, [(11, 16), (20, 16)]),
        ("stable_diffusion_3", {"max_sequence_length": 13}, {}, [(14, 13), (20, 16)]),
        ("stable_diffusion_3", {"max_sequence_length": 13, "t5": False}, {}, [(11, 16), (20, 16)]),
        ("stable_diffusion_3", {"max_sequence_length": 13}, {"text_encoder_3": [None, None]}, [(11, 16), (20, 16)]),
        ("stable_diffusion_xl", {}, {"tokenizer_2": 10}, [(11, 10), (20, 16)]),
        ("flux", {}, {"tokenizer": 10}, [(14, 512), (26, 512)]),  # CLIP reads the beginning
    ],
)
def test_a_prompt_is_too_long_if_a_text_encoder_that_reads_it_cuts_it(
    family_folder, tmp_path, family, options, edit, expected
):
    folder = shutil.copytree(family_folder(family), tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    for name, value in edit.items():
        path, key = folder / "model_index.json", name
        if isinstance(value, int):
            path, key = folder / name / "tokenizer_config.json", "model_max_length"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    tokenizer = open_tokenizer(ModelSettings(family=family, base=str(folder), options=options))
    assert tokenizer.lengths(["a fox at sea", "a fox at sea, in a storm"]) == expected
    assert tokenizer.lengths([]) == []


@pytest.mark.parametrize("most", [13, 14])
def test_t5_reads_a_prompt_whole_exactly_if_it_is_not_too_long(family_folder, tmp_path, most):
    """Whatever limit its own tokenizer has, which diffusers passes over."""
    folder = shutil.copytree(family_folder("stable_diffusion_3"), tmp_path / "model")
    path = folder / "tokenizer_3" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 10}))
    options = {"max_sequence_length": most}
    model = ModelSettings(family="stable_diffusion_3", base=str(folder), options=options)
    texts, tokenizer = ["a fox at sea", "a fox at set"], open_tokenizer(model)
    lengths = tokenizer.lengths(texts)
    one, other = load_model(model).conditioning(texts)["prompt_embeds"][:, tokenizer.max_tokens :]
    assert one.equal(other) == (lengths == [(14, 13)] * 2) == (most == 13)


def test_counts_are_those_of_the_shipped_model():
    alone, of_the_model = open_prompt_tokenizer("scenes"), load_model(ModelSettings(base="scenes")).tokenizer
    assert alone.count(TEXTS) == of_the_model.count(TEXTS)
    assert alone.max_tokens == of_the_model.max_tokens


def test_no_network_is_opened_or_needed(tokenizer_folder, model):
    counts = open_prompt_tokenizer(str(tokenizer_folder)).count(TEXTS)
    assert counts == load_model(model).tokenizer.count(TEXTS)


def test_a_hub_id_is_read_from_the_cache_offline(tokenizer_folder, tmp_path, monkeypatch):
    commit = "0" * 40
    repository = tmp_path / "hub" / "models--someone--small"
    shutil.copytree(tokenizer_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    for name in ("main", "v1"):
        (repository / "refs" / name).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for revision in (None, "v1"):
        assert open_prompt_tokenizer("someone/small", revision).count(["a red circle"]) == [5]
    assert "the tokenizer of 'someone/small' cannot be opened" in refused("someone/small", revision="v2")
    assert "the tokenizer of 'someone/other' cannot be opened" in refused("someone/other")


def test_a_missing_folder_is_named(tmp_path):
    assert f"the tokenizer of '{tmp_path / 'nowhere'}' cannot be opened" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_an_index_that_names_no_tokenizer_is_refused(tokenizer_folder, content):
    (tokenizer_folder / "model_index.json").write_text(content)
    assert "model.base" in refused(tokenizer_folder)


def test_an_index_that_asks_for_foreign_code_is_refused(tokenizer_folder):
    index = json.loads((tokenizer_folder / "model_index.json").read_text())
    for entry in (["evil_module", "Tokenizer"], ["transformers", "AutoTokenizer"]):
        (tokenizer_folder / "model_index.json").write_text(json.dumps(index | {"tokenizer": entry}))
        assert "code that comes with a model is not run" in refused(tokenizer_folder)


def test_a_tokenizer_without_a_limit_is_refused(tokenizer_folder):
    path = tokenizer_folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 10**30}))
    assert "put the right number into tokenizer_config.json" in refused(tokenizer_folder)


def test_a_tokenizer_without_its_vocabulary_is_refused(tokenizer_folder):
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (tokenizer_folder / "tokenizer" / name).unlink(missing_ok=True)
    assert "save it again" in refused(tokenizer_folder)


def as_vocabulary_and_merges(folder, cut=0):
    """Store a tokenizer in CLIP's first format, without its last merges."""
    path = folder / "tokenizer.json"
    model = json.loads(path.read_text())["model"]
    path.unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"][: len(model["merges"]) - cut])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("cut", [1, 40])
def test_merges_that_are_cut_at_the_end_of_a_line_are_refused(tokenizer_folder, cut):
    as_vocabulary_and_merges(tokenizer_folder / "tokenizer", cut)
    assert f"no merge makes {cut} tokens of its vocabulary" in refused(tokenizer_folder)


def test_merges_that_gemma_s_tokenizer_lost_are_refused():
    words = ["re", "red", "ci", "cir", "circ", "cl", "cle"]
    vocabulary = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        "<0x0A>",
        "\u2581",
        *"abcdefghijklmnopqrstuvwxyz",
        *words,
    ]
    merges = [("r", "e"), ("re", "d"), ("c", "i"), ("ci", "r"), ("cir", "c"), ("c", "l"), ("cl", "e")]
    numbers = {token: number for number, token in enumerate(vocabulary)}
    PromptTokenizer(GemmaTokenizer(vocab=numbers, merges=merges), 300).check()
    with pytest.raises(ModelError, match="no merge makes 4 tokens of its vocabulary"):
        PromptTokenizer(GemmaTokenizer(vocab=numbers, merges=merges[:3]), 300).check()


def test_a_tokenizer_in_two_files_counts_the_same(tokenizer_folder):
    before = open_prompt_tokenizer(str(tokenizer_folder)).count(TEXTS)
    as_vocabulary_and_merges(tokenizer_folder / "tokenizer")
    assert open_prompt_tokenizer(str(tokenizer_folder)).count(TEXTS) == before


def test_a_tokenizer_can_be_opened_by_itself(model_folder, tmp_path):
    assert open_named_tokenizer(str(model_folder / "tokenizer")).count(["a red circle"]) == [5]
    with pytest.raises(ModelError, match="no tokenizer in"):
        open_named_tokenizer(str(tmp_path / "nowhere"))


def test_a_tokenizer_by_itself_is_checked_as_a_models_own(tokenizer_folder):
    folder = tokenizer_folder / "tokenizer"
    path = folder / "tokenizer_config.json"
    limits = json.loads(path.read_text())
    path.write_text(json.dumps(limits | {"model_max_length": 10**30}))
    with pytest.raises(ModelError, match=f"the tokenizer '{folder}' reads 1000.* tokenizer_config.json, or set --max-"):
        open_named_tokenizer(str(folder))
    assert open_named_tokenizer(str(folder), most=77).max_tokens == 77
    path.write_text(json.dumps(limits))
    as_vocabulary_and_merges(folder, 3)
    with pytest.raises(ModelError, match=f"the tokenizer '{folder}' is not whole: no merge makes 3 tokens"):
        open_named_tokenizer(str(folder), most=77)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=f"'{folder}'.*save"):
        open_named_tokenizer(str(folder))
