"""T5 and Gemma are loaded in fewer bits where that is possible, and refused with the reason elsewhere."""

from types import ModuleType

import pytest
import torch
from transformers import BitsAndBytesConfig

from rsidiff_kedro.diffusion import quantization
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.opening import check_model, family_of
from rsidiff_kedro.diffusion.quantization import check_quantization, quantization_config
from rsidiff_kedro.diffusion.settings import ModelSettings

LARGE = {"stable_diffusion_3": "text_encoder_3", "flux": "text_encoder_2", "sana": "text_encoder"}
GPU = torch.device("cuda")


def settings(family_folder, family, kind="bitsandbytes_8bit", **options):
    base = str(family_folder(family))
    return ModelSettings(family=family, base=base, text_encoder_quantization=kind, device="cpu", options=options)


@pytest.mark.parametrize("family", FAMILIES.names)
def test_the_cpu_and_families_without_such_an_encoder_are_refused(family_folder, family):
    reason = "computed on a CUDA GPU alone, and model.device is cpu" if family in LARGE else "loads no large text encod"
    with pytest.raises(ModelError, match=f"text_encoder_quantization is 'bitsandbytes_8bit', .*{reason}.*set it to n"):
        check_model(settings(family_folder, family))


def test_stable_diffusion_3_without_t5_is_refused(family_folder):
    with pytest.raises(ModelError, match="stable_diffusion_3 as it is set loads no large text encoder"):
        check_model(settings(family_folder, "stable_diffusion_3", t5=False))


def test_a_missing_library_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"bitsandbytes is not installed; run `pip install 'rsidiff_kedro\[quantiz"):
        check_quantization("bitsandbytes_4bit", "flux", ["text_encoder_2"], GPU)


def test_a_gpu_with_the_library_is_accepted(monkeypatch):
    monkeypatch.setattr(quantization, "find_spec", lambda name: ModuleType(name))
    check_quantization("bitsandbytes_4bit", "flux", ["text_encoder_2"], GPU)
    check_quantization(None, "stable_diffusion", [], torch.device("cpu"))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bitsandbytes_8bit", {"load_in_8bit": True}),
        (
            "bitsandbytes_4bit",
            {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16},
        ),
    ],
)
def test_the_pipeline_is_told_to_quantize_the_large_encoder_alone(family_folder, monkeypatch, kind, values):
    for family, encoder in LARGE.items():
        model, told = settings(family_folder, family, kind).model_copy(update={"dtype": "bfloat16"}), {}

        def read(folder, told=told, **options):
            told.update(options)
            raise OSError("read no further")

        pipeline_class = family_of(model).pipeline_class
        monkeypatch.setattr(pipeline_class, "from_pretrained", read)
        with pytest.raises(ModelError, match="read no further"):
            family_of(model).open(model)
        ((found, config),) = told["quantization_config"].quant_mapping.items()
        assert found == encoder
        assert isinstance(config, BitsAndBytesConfig)
        assert {name: getattr(config, name) for name in values} == values


@pytest.mark.parametrize("kind", quantization.BYTES)
@pytest.mark.parametrize("family", LARGE)
def test_bitsandbytes_loads_the_large_encoder_which_embeds_nearly_the_same(family_folder, monkeypatch, family, kind):
    """It computes on CPUs too, though slowly: `check_model`, which `open` does not call, refuses them."""
    layers = pytest.importorskip("bitsandbytes", reason="pip install 'rsidiff_kedro[quantization]'").nn
    monkeypatch.setattr(layers.modules, "has_avx512bf16", lambda: False)  # its fast way is not for such small layers
    kinds, texts, states = (layers.Linear8bitLt, layers.Linear4bit), ["three red cats", "one blue dog"], []
    for bits in (None, kind):
        opened = settings(family_folder, family, bits).model_copy(update={"dtype": "bfloat16"})
        model = family_of(opened).open(opened)
        networks = {name: part for name, part in model.pipeline.components.items() if isinstance(part, torch.nn.Module)}
        few = {name for name, part in networks.items() if any(isinstance(layer, kinds) for layer in part.modules())}
        assert few == ({LARGE[family]} if bits else set())
        states.append(model.conditioning(texts)["prompt_embeds"].float())
    whole, quantized = states
    assert 0 < (whole - quantized).norm() / whole.norm() < 0.3  # unrelated vectors: 1.4


def test_nothing_is_told_where_nothing_is_quantized():
    assert quantization_config(None, ["text_encoder"], torch.float32) is None
