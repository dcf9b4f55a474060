"""ONNX Runtime and compiled code generate what torch generates, or are refused with what to set."""

import importlib.metadata
from functools import partial
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from torch import nn

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion import runtime
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.opening import check_runtimes, load_model
from rsidiff_kedro.diffusion.runtime import OnnxForward, check_runtime, use_runtime
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import (
    FinetuneSettings,
    LoraSettings,
    ModelSettings,
    Quantization,
    Runtime,
    SamplerSettings,
)
from rsidiff_kedro.diffusion.training import finetune, initial_adapter
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters, texts
from rsidiff_kedro.provenance.code_digest import library_versions

PROMPTS = pd.DataFrame({"prompt_id": ["aa", "bb", "cc"], "text": ["a red circle", "a blue square", "a cat, running"]})
CPU, FLOAT = torch.device("cpu"), torch.float32


def settings(family_folder, family, **others):
    return ModelSettings(family=family, base=str(family_folder(family)), device="cpu", **others)


def generate(model, runtime, adapter=None):
    """Generate three images in micro-batches of two, the last filled up."""
    sampler = SamplerSettings(num_inference_steps=2, guidance_scale=3.0, micro_batch_size=2, runtime=runtime)
    return sample_images(model, adapter, PROMPTS, 1, sampler, 0, "test", "generating")


def pixels(images):
    return np.stack([np.asarray(image, int) for image in images.images])


def changed_adapter(model, seed=1):
    """Return an adapter that changes what is generated."""
    initial = initial_adapter(load_model(model), LoraSettings(rank=2), seed=0)
    noise = torch.Generator().manual_seed(seed)
    return Adapter({name: torch.randn(each.shape, generator=noise) for name, each in initial.weights.items()}, {})


@pytest.fixture(scope="module")
def opened(family_folder):
    """Return a model that has generated with ONNX Runtime, and its images."""
    model = load_model(settings(family_folder, "stable_diffusion"))
    return model, generate(model, "onnxruntime")


@pytest.mark.parametrize("family", ["stable_diffusion_xl", "stable_diffusion_3", "sana"])
def test_onnx_runtime_generates_the_same_with_an_adapter(family_folder, family):
    model = settings(family_folder, family)
    adapter = changed_adapter(model)
    expected, found = (generate(model, runtime, adapter) for runtime in ("torch", "onnxruntime"))
    assert np.abs(pixels(expected) - pixels(found)).max() <= 1
    assert (expected.latents - generate(model, "torch").latents).abs().max() > 0.1


def test_onnx_runtime_generates_the_same_bytes_again(family_folder, opened):
    model, (_, base) = settings(family_folder, "stable_diffusion"), opened
    assert torch.equal(generate(model, "onnxruntime").latents, base.latents)
    assert np.abs(pixels(generate(model, "torch")) - pixels(base)).max() <= 1


def test_an_opened_model_exports_once_until_an_adapter_changes_it(family_folder, opened):
    model, base = opened
    exported = model.denoiser.forward
    assert torch.equal(generate(model, "onnxruntime").latents, base.latents)
    assert model.denoiser.forward is exported
    assert len(exported._sessions) == 1
    use_runtime(model.denoiser, "onnxruntime", changed=True)
    assert model.denoiser.forward is not exported
    assert model.denoiser.forward._sessions == {}
    use_runtime(model.denoiser, "torch", changed=False)
    assert "forward" not in vars(model.denoiser)


def test_compiled_code_computes_the_same(monkeypatch):
    """With a backend that captures the graph and compiles nothing: inductor takes minutes for a pipeline."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    network, given = nn.Linear(8, 8), torch.linspace(-1, 1, 8)
    expected = network(given)
    use_runtime(network, "compile", changed=False)
    assert torch.allclose(network(given), expected)
    assert "forward" in vars(network)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 1e-2)])
def test_compiled_code_trains_the_same(family_folder, monkeypatch, dtype, tolerance):
    """With a backend that captures forward and backward passes and compiles nothing."""
    used = []
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *given, **options: used.append(1) or real(*given, backend="aot_eager"))
    model = settings(family_folder, "stable_diffusion_3").model_copy(update={"dtype": dtype})
    parent = initial_adapter(load_model(model), LoraSettings(rank=2), seed=0)
    rows = PROMPTS.assign(image_id=PROMPTS["prompt_id"], round=1, weight=1.0)
    latents = torch.randn((3, *load_model(model).latent_shape), generator=torch.Generator().manual_seed(0))
    given = {"rank": 2, "steps": 2, "batch_size": 2, "learning_rate": 1e-2}
    trained = [
        finetune(load_model(model), parent, TrainingSet(rows, latents), FinetuneSettings(**given, runtime=each), 0, 1)
        for each in ("torch", "compile")
    ]
    assert used == [1]
    (one, log), (other, other_log) = trained
    assert np.allclose(log["loss"], other_log["loss"], rtol=tolerance)
    for name, weight in one.weights.items():
        assert torch.allclose(weight, other.weights[name], rtol=1e-2, atol=tolerance), name


def test_a_value_that_would_be_fixed_in_the_graph_is_refused(family_folder):
    forward = OnnxForward(load_model(settings(family_folder, "stable_diffusion")).denoiser)
    with pytest.raises(TypeError, match="timestep is 3, which would be fixed"):
        forward(torch.zeros(1, 4, 16, 16), 3, torch.zeros(1, 16, 16), return_dict=False)


@pytest.mark.parametrize(
    ("kind", "device", "dtype", "message"),
    [
        (FluxTransformer2DModel, "cpu", FLOAT, "a FluxTransformer2DModel cannot be exported .* set it to compile, or"),
        (UNet2DConditionModel, "cuda", FLOAT, "on CPUs alone, and model.device is cuda here; set model.device=cpu, or"),
        (UNet2DConditionModel, "cpu", torch.bfloat16, "model.dtype is bfloat16; set model.dtype=float32, or"),
    ],
)
def test_onnx_runtime_is_refused_with_what_to_set(kind, device, dtype, message):
    with pytest.raises(ModelError, match=f"^sampler.runtime is 'onnxruntime', but .*{message} set it to torch$"):
        check_runtime("sampler.runtime", "onnxruntime", kind, torch.device(device), dtype)


def test_missing_packages_are_named_with_the_command(monkeypatch):
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"onnx and onnxruntime cannot be found; run `pip install 'rsidiff_kedro\[on"):
        check_runtime("sampler.runtime", "onnxruntime", UNet2DConditionModel, CPU, FLOAT)
    with pytest.raises(ModelError, match=r"needs triton to compile for a GPU, .*install triton, or set it to torch"):
        check_runtime("sampler.runtime", "compile", UNet2DConditionModel, torch.device("cuda"), FLOAT)


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(ModelError, match=r"torch finds no C.. compiler; install g.. or clang.., or .* CXX, "):
        check_runtime("sampler.runtime", "compile", UNet2DConditionModel, CPU, FLOAT)


def test_every_sampler_of_a_run_is_checked(family_folder):
    flux = settings(family_folder, "flux")
    check_runtimes(flux, {"sampler.runtime": "torch"})
    with pytest.raises(ModelError, match=r"^synthesis\.sampler\.runtime is 'onnxruntime'"):
        check_runtimes(flux, {"sampler.runtime": "torch", "synthesis.sampler.runtime": "onnxruntime"})


def test_sampling_without_a_run_checks_too(family_folder):
    with pytest.raises(ModelError, match="a FluxTransformer2DModel cannot be exported"):
        generate(settings(family_folder, "flux"), "onnxruntime")


PROGRAMS = {"torch": None, "compile": None, "onnxruntime": "onnxruntime"} | dict.fromkeys(
    ("bitsandbytes_8bit", "bitsandbytes_4bit"), "bitsandbytes"
)
"""The library that a setting asks for, besides those that always count."""


@pytest.mark.parametrize("name", [*get_args(Runtime), *get_args(Quantization)])
def test_a_setting_that_names_a_program_counts_in_the_key_with_the_version_of_its_library(name):
    values = {"sampler": SamplerSettings(), "model": ModelSettings(base="scenes")}
    if name in get_args(Runtime):
        changed = values | {"sampler": SamplerSettings(runtime=name)}
    else:
        changed = values | {"model": ModelSettings(base="scenes", text_encoder_quantization=name)}
    keyed, default = (KeyedParameters().of_step(each) for each in (changed, values))
    assert (keyed == default) == (name == "torch")
    library = PROGRAMS[name]
    more = {library: importlib.metadata.version(library)} if library is not None else {}
    assert library_versions(frozenset(texts(keyed))) == library_versions(frozenset(texts(default))) | more
