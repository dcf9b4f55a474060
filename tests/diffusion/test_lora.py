"""peft's options of an adapter hold in training, in the adapter's file, in an unmodified pipeline and after a round."""

import json

import pandas as pd
import pytest
import torch
from peft.tuners.lora import LoraLayer
from pydantic import ValidationError
from safetensors import safe_open

from rsidiff_kedro.core.adapter import WEIGHTS_NAME, Adapter, AdapterError
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.datasets.adapter_folder import AdapterDataset
from rsidiff_kedro.diffusion.opening import check_lora, load_model
from rsidiff_kedro.diffusion.settings import FinetuneSettings, LoraSettings, ModelSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter

SETTINGS = FinetuneSettings(rank=4, layers="attention", steps=2, batch_size=4, learning_rate=1e-2)
SCALES = [
    ({"lora_alpha": 8.0}, 2.0),
    ({"lora_alpha": 8.0, "use_rslora": True}, 4.0),
    ({"use_dora": True}, 1.0),
    ({"target_modules": ("to_q", "to_v")}, 1.0),
    ({"lora_dropout": 0.5}, 1.0),
]


@pytest.fixture(scope="module")
def training_set():
    generator = torch.Generator().manual_seed(0)
    metadata = pd.DataFrame({"image_id": list("abcd"), "prompt_id": "0", "text": "a red circle"})
    return TrainingSet(metadata.assign(round=1, weight=1.0), torch.randn((4, 4, 16, 16), generator=generator))


def with_options(**options):
    return SETTINGS.model_copy(update=options)


def train(model, training_set, settings):
    parent = initial_adapter(load_model(model), settings, seed=0)
    return finetune(load_model(model), parent, training_set, settings, 0, 1)[0]


@pytest.mark.parametrize(("options", "scale"), SCALES)
def test_an_adapter_keeps_its_options_in_its_folder_and_in_the_next_round(model, tmp_path, options, scale):
    settings = with_options(**options)
    AdapterDataset(filepath=tmp_path / "adapter").save(initial_adapter(load_model(model), settings, seed=0))
    adapter, opened = AdapterDataset(filepath=tmp_path / "adapter").load(), load_model(model)
    opened.load_adapter(adapter, trainable=True, dropout=settings.lora_dropout)
    layers = [layer for layer in opened.denoiser.modules() if isinstance(layer, LoraLayer)]
    assert {layer.scaling["default"] for layer in layers} == {scale} == {adapter.scale}
    assert {getattr(layer.lora_dropout["default"], "p", 0.0) for layer in layers} == {settings.lora_dropout}
    assert {layer.use_dora.get("default", False) for layer in layers} == {settings.use_dora}
    assert opened.export_adapter().keys() == adapter.weights.keys()
    if settings.target_modules:
        assert {name.partition(".lora_")[0].rpartition(".")[2] for name in adapter.weights} == {"to_q", "to_v"}


def test_a_plain_adapters_file_has_no_settings_and_others_have_diffusers(model, tmp_path):
    headers = []
    for number, options in enumerate([{}, {"lora_alpha": 8.0}]):
        folder = tmp_path / str(number)
        AdapterDataset(filepath=folder).save(initial_adapter(load_model(model), with_options(**options), seed=0))
        with safe_open(folder / WEIGHTS_NAME, "pt") as file:
            headers.append(file.metadata())
    assert headers[0] == {"format": "pt"}
    written = json.loads(headers[1]["lora_adapter_metadata"])
    assert (written["unet.r"], written["unet.lora_alpha"], written["unet.use_dora"]) == (4, 8.0, False)


def test_adapters_of_other_scales_are_others():
    weights = {"unet.a.lora_A.weight": torch.ones(2, 2), "unet.a.lora_B.weight": torch.ones(2, 2)}
    digests = {Adapter(weights, {"lora": {"lora_alpha": alpha}}).digest for alpha in (1.0, 4.0)}
    assert len(digests | {Adapter(weights).digest}) == 3


def test_a_round_goes_on_with_the_parents_scale(model, training_set):
    settings = with_options(lora_alpha=8.0, lora_dropout=0.5)
    first = train(model, training_set, settings)
    second = finetune(load_model(model), first, training_set, settings, 0, 2)[0]
    assert second.info["lora"] == first.info["lora"] == {"lora_alpha": 8.0, "use_dora": False, "use_rslora": False}
    assert second.digest != first.digest


OTHER = {"rank": 2, "layers": "all", "lora_alpha": 64.0, "use_rslora": True, "use_dora": True}
"""What an adapter of `SETTINGS` is not."""


def test_a_round_with_other_settings_records_what_its_parent_has_and_says_so(model, training_set, caplog):
    first = train(model, training_set, SETTINGS)
    second = finetune(model, first, training_set, with_options(**OTHER), 0, 2)[0]
    assert (second.rank, second.scale, second.layers) == (4, 1.0, first.layers)
    assert second.info["finetune"] == first.info["finetune"]
    (said,) = [each.getMessage() for each in caplog.records if each.name == finetune.__module__]
    assert said.startswith(
        "round 2 goes on with its parent's LoRA: finetune.rank is 4, not 2, finetune.layers is atten"
    )
    for name in OTHER:
        assert f"finetune.{name} is " in said


@pytest.mark.parametrize("options", [{}, {"lora_alpha": 8.0, "use_rslora": True}, {"target_modules": ("to_q", "to_v")}])
def test_a_round_with_its_parents_settings_records_them_as_they_are_written(model, training_set, caplog, options):
    settings = with_options(**options)
    assert train(model, training_set, settings).info["finetune"] == settings.model_dump()
    assert not [each for each in caplog.records if each.name == finetune.__module__]


def test_layers_that_only_the_parent_names_are_recorded_by_their_names(model, training_set):
    parent = initial_adapter(load_model(model), with_options(target_modules=("to_q",), lora_alpha=8.0), 0)
    adapter = finetune(load_model(model), parent, training_set, SETTINGS, 0, 1)[0]
    recorded = FinetuneSettings(**adapter.info["finetune"])
    assert initial_adapter(load_model(model), recorded, 0).layers == adapter.layers == parent.layers
    assert (recorded.lora_alpha, adapter.scale) == (8.0, 2.0)


def test_a_round_that_restarts_has_its_own_settings(model, training_set, caplog):
    settings = with_options(rank=2, adapter="restart")
    parent = initial_adapter(load_model(model), SETTINGS, 0)
    adapter = finetune(load_model(model), parent, training_set, settings, 0, 1)[0]
    assert (adapter.rank, adapter.info["finetune"]["rank"]) == (2, 2)
    assert not [each for each in caplog.records if each.name == finetune.__module__]


def test_dropout_is_the_same_with_gradient_checkpointing(model, training_set):
    settings = with_options(lora_dropout=0.5, micro_batch_size=2)
    plain = train(model, training_set, settings)
    again = train(model, training_set, settings.model_copy(update={"gradient_checkpointing": True}))
    for name, value in plain.weights.items():
        torch.testing.assert_close(again.weights[name], value)
    assert plain.digest != train(model, training_set, with_options(micro_batch_size=2)).digest


def test_gradient_checkpointing_trains_nearly_the_same_in_bfloat16(model, training_set):
    """Attention alone is computed in another dtype."""
    narrow, settings = model.model_copy(update={"dtype": "bfloat16"}), with_options(layers="all")
    parent = initial_adapter(load_model(narrow), settings, seed=0)
    losses = [
        finetune(load_model(narrow), parent, training_set, each, 0, 1)[1]["loss"]
        for each in (settings, settings.model_copy(update={"gradient_checkpointing": True}))
    ]
    assert losses[0].to_numpy() == pytest.approx(losses[1].to_numpy(), rel=1e-2)


def test_dora_is_trained_in_float32_beside_a_bfloat16_model(model, training_set):
    adapter = train(model.model_copy(update={"dtype": "bfloat16"}), training_set, with_options(use_dora=True))
    fresh = initial_adapter(load_model(model), with_options(use_dora=True), seed=0)
    lengths = [name for name in adapter.weights if name.endswith("lora_magnitude_vector")]
    assert len(lengths) == len(adapter.weights) / 3
    assert {value.dtype for value in adapter.weights.values()} == {torch.float32}
    assert any(not torch.equal(adapter.weights[name], fresh.weights[name].bfloat16().float()) for name in lengths)


@pytest.mark.parametrize("options", [{}, {"lora_alpha": 8.0}, {"use_dora": True}])
@pytest.mark.parametrize(("size", "fused"), [(0.1, True), (1e-5, False)])
def test_a_bfloat16_model_fuses_an_adapter_that_survives_rounding(model, options, size, fused):
    """An adapter that would be rounded away computes beside the weights, rounded itself."""
    noise = torch.Generator().manual_seed(0)
    fresh = initial_adapter(load_model(model), with_options(**options), seed=0)
    weights = {
        name: size * torch.randn(value.shape, generator=noise) if "lora_B" in name else value
        for name, value in fresh.weights.items()
    }
    adapter = Adapter(weights, fresh.info)
    exact, narrow = load_model(model), load_model(model.model_copy(update={"dtype": "bfloat16"}))
    before = {name: value.clone() for name, value in exact.denoiser.named_parameters()}
    for opened in (exact, narrow):
        opened.load_adapter(adapter, trainable=False)
    assert any(isinstance(layer, LoraLayer) for layer in narrow.denoiser.modules()) is not fused
    found = {name.replace(".base_layer", ""): value for name, value in narrow.denoiser.named_parameters()}
    assert {value.dtype for value in found.values()} == {torch.bfloat16}
    for name, wanted in exact.denoiser.named_parameters():
        expected = wanted if fused else before[name]
        largest = float(torch.maximum(before[name], expected).abs().max())
        torch.testing.assert_close(found[name].float(), expected, rtol=0, atol=largest / 128)  # two roundings


def test_a_pattern_means_whole_names(family_folder):
    model = ModelSettings(family="flux", base=str(family_folder("flux")))
    adapter, opened = initial_adapter(load_model(model), with_options(target_modules="proj_out"), 0), load_model(model)
    opened.load_adapter(adapter, trainable=True)  # not those of the blocks, whose names end so
    assert opened.export_adapter().keys() == adapter.weights.keys()
    assert {name.partition(".lora_")[0] for name in adapter.weights} == {"transformer.proj_out"}


@pytest.mark.parametrize("targets", [("to_q", "to_x"), "to_q", ("norm1",), ".*norm1"])
def test_layers_that_the_denoiser_lacks_are_refused_before_anything_is_computed(model, targets):
    with pytest.raises(AdapterError, match=r"target_modules: '.*' is no linear layer .* name some, such as .*to_k"):
        check_lora(model, LoraSettings(target_modules=targets))


def test_layers_that_the_denoiser_has_are_accepted(model):
    for targets in (("to_q", "conv1", "conv_in"), r".*attn1\.to_(q|v)"):
        check_lora(model, LoraSettings(target_modules=targets, use_dora=True))


def test_a_pattern_that_meets_a_layer_without_weights_is_refused(model):
    with pytest.raises(AdapterError, match=r"target_modules: Target module .* is not supported"):
        check_lora(model, LoraSettings(target_modules=".*(to_q|norm1)"))


@pytest.mark.parametrize("targets", ["(", "", (), ("",)])
def test_what_is_no_name_and_no_pattern_is_refused(targets):
    with pytest.raises(ValidationError):
        LoraSettings(target_modules=targets)
