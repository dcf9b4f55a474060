"""Nothing that lies in a file is run: no pickle, no module beside a model, no code of the hub, no PostScript."""

import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from kedro.io import DatasetError
from transformers import CLIPConfig

from rsidiff_kedro.cli.prompt_report import report_prompts
from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import ImageFileError
from rsidiff_kedro.datasets import AdapterDataset, ImageSetDataset, PretrainedDataset
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.opening import check_model, load_model
from rsidiff_kedro.diffusion.real_images import RealImageError, encode_pairs, read_pairs
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.hooks.configuration import RsiConfigLoader
from rsidiff_kedro.prompts.sources.file import FileSource
from rsidiff_kedro.prompts.sources.hub import HubSource
from rsidiff_kedro.prompts.sources.source import PromptSourceError
from rsidiff_kedro.rewards.checkpoints import read_config, read_weights
from rsidiff_kedro.rewards.sources import CheckpointError
from rsidiff_kedro.rewards.tokenizers import open_clip_tokenizer
from rsidiff_kedro.scenes import BASE_FOLDER, PROXY_FOLDER
from rsidiff_kedro.scenes.plugins.proxy import ProxyModel
from rsidiff_kedro.scenes.pretraining.fitting import Schedule, fit

PIPELINE = "diffusers.StableDiffusionPipeline"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the shipped model, to be tampered with."""
    return Path(shutil.copytree(BASE_FOLDER, tmp_path / "model"))


def settings(folder: Path) -> ModelSettings:
    return ModelSettings(base=str(folder))


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.bin", "a.ckpt", "a.safetensors"])
def test_a_checkpoint_of_a_reward(tmp_path: Path, poison: bytes, proof: Path, name: str) -> None:
    (tmp_path / name).write_bytes(poison)
    with pytest.raises(CheckpointError):
        read_weights(tmp_path / name)
    assert not proof.exists()


def test_an_unfinished_training(tmp_path: Path, poison: bytes, proof: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(poison)
    network = torch.nn.Linear(1, 1)
    fit(network, lambda _: network.weight.sum(), Schedule(1, 1, 0.1), 0, "t", tmp_path / "state.safetensors")
    assert not proof.exists()


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("named", [".bin", ".safetensors"])
def test_weights_of_a_model(model: Path, poison: bytes, proof: Path, component: str, named: str) -> None:
    (weights,) = (model / component).glob("*.safetensors")
    weights.unlink()
    stem = "pytorch_model" if (component, named) == ("text_encoder", ".bin") else weights.stem
    (model / component / f"{stem}{named}").write_bytes(poison)
    with pytest.raises(ModelError):
        load_model(settings(model))
    with pytest.raises(DatasetError):
        PretrainedDataset(filepath=model, class_name=PIPELINE).load()
    assert not proof.exists()


def test_a_pickle_beside_a_models_weights(model: Path, poison: bytes, proof: Path) -> None:
    (model / "unet" / "diffusion_pytorch_model.bin").write_bytes(poison)
    (model / "text_encoder" / "pytorch_model.bin").write_bytes(poison)
    assert load_model(settings(model))
    assert not proof.exists()


def test_weights_of_an_adapter(tmp_path: Path, poison: bytes, proof: Path) -> None:
    dataset = AdapterDataset(filepath=tmp_path / "adapter")
    dataset.save(Adapter({"a": torch.ones(1)}))
    (tmp_path / "adapter" / "pytorch_lora_weights.safetensors").write_bytes(poison)
    with pytest.raises(DatasetError):
        dataset.load()
    assert not proof.exists()


def test_weights_of_the_proxy(tmp_path: Path, poison: bytes, proof: Path) -> None:
    shutil.copytree(PROXY_FOLDER, tmp_path / "proxy")
    (tmp_path / "proxy" / "model.safetensors").write_bytes(poison)
    with pytest.raises(CheckpointError):
        ProxyModel.from_pretrained(tmp_path / "proxy")
    assert not proof.exists()


@pytest.mark.parametrize("name", ["metadata.parquet", "latents.safetensors", "images/p0-0.png"])
def test_a_part_of_an_image_set(tmp_path: Path, draw, poison: bytes, proof: Path, name: str) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "set")
    dataset.save(draw("a fox"))
    (tmp_path / "set" / name).write_bytes(poison)
    with pytest.raises((DatasetError, ImageFileError)):
        list(dataset.load().images)
    assert not proof.exists()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "json", "jsonl", "txt"])
def test_a_file_of_prompts(tmp_path: Path, poison: bytes, proof: Path, suffix: str) -> None:
    (tmp_path / f"prompts.{suffix}").write_bytes(poison)
    with pytest.raises(PromptSourceError):
        FileSource(path=tmp_path / f"prompts.{suffix}").collect(0)
    assert not proof.exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt"])
def test_a_tokenizer(tmp_path: Path, poison: bytes, proof: Path, name: str) -> None:
    for each in ("vocab.json", "merges.txt", name):
        (tmp_path / each).write_bytes(poison)
    with pytest.raises(CheckpointError):
        open_clip_tokenizer(str(tmp_path), 10)
    assert not proof.exists()


def test_an_extension_type_of_arrow_that_carries_a_pickle(tmp_path: Path, proof: Path) -> None:
    class Foreign:
        def __reduce__(self):
            return Path.touch, (proof,)

    carried = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Foreign()),
    }
    field = pa.field("text", pa.string(), metadata=carried)
    pq.write_table(pa.table([pa.array(["a fox"])], pa.schema([field])), tmp_path / "prompts.parquet")
    assert FileSource(path=tmp_path / "prompts.parquet").collect(0)["text"].tolist() == ["a fox"]
    assert not proof.exists()


def test_what_pandas_adds_to_a_table_decides_nothing(tmp_path: Path) -> None:
    pandas = {
        "columns": [{"name": "text", "numpy_type": "evil[x]", "pandas_type": "evil"}],
        "index_columns": ["nowhere"],
    }
    schema = pa.schema([pa.field("text", pa.string())], metadata={b"pandas": json.dumps(pandas).encode()})
    pq.write_table(pa.table([pa.array(["a fox"])], schema), tmp_path / "prompts.parquet")
    assert FileSource(path=tmp_path / "prompts.parquet").collect(0)["text"].tolist() == ["a fox"]


@pytest.mark.parametrize("tag", ["!!python/object/apply:pathlib.Path.touch", "!!python/object/new:pathlib.Path.touch"])
def test_a_tag_in_the_configuration(tmp_path: Path, proof: Path, tag: str) -> None:
    for environment in ("base", "scenes", "local"):
        (tmp_path / environment).mkdir()
    (tmp_path / "base" / "globals.yml").write_text("data: data\n")
    made = f"!!python/object/apply:pathlib.PosixPath ['{proof}']"
    (tmp_path / "base" / "parameters.yml").write_text(f"rounds: {tag} [{made}]\n")
    with pytest.raises(click.UsageError, match=r"parameters\.yml cannot be read"):
        _ = RsiConfigLoader(str(tmp_path), base_env="base", default_run_env="local")["parameters"]
    assert not proof.exists()


def module_text(proof: Path) -> str:
    return f"import pathlib\npathlib.Path({str(proof)!r}).touch()\nclass UNet2DConditionModel: pass\n"


@pytest.mark.parametrize(
    "component",
    [
        ["evil", "UNet2DConditionModel"],
        ["diffusers_modules.local.evil", "UNet2DConditionModel"],
        ["this", "c"],
        ["diffusers", "AutoModel"],
        ["transformers", "AutoModel"],
        ["transformers", "__import__('os')"],
        ["diffusers", "UNet2DConditionModel", "more"],
        [["diffusers"], "UNet2DConditionModel"],
    ],
)
def test_a_component_that_is_no_class_of_the_libraries(
    model: Path, proof: Path, monkeypatch: pytest.MonkeyPatch, component: list
) -> None:
    for folder in (model, model / "unet", model.parent):
        (folder / "evil.py").write_text(module_text(proof))
    monkeypatch.chdir(model.parent)
    monkeypatch.syspath_prepend(model.parent)
    index = model / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"unet": component}))
    for load in (check_model, load_model):
        with pytest.raises(ModelError, match="code that comes with a model is not run"):
            load(settings(model))
    with pytest.raises(DatasetError, match="code that comes with a model is not run"):
        PretrainedDataset(filepath=model, class_name=PIPELINE).load()
    assert not proof.exists()


def test_a_pipeline_of_a_models_own(model: Path, proof: Path) -> None:
    (model / "pipeline.py").write_text(module_text(proof))
    index = model / "model_index.json"
    index.write_text(
        json.dumps(json.loads(index.read_text()) | {"_class_name": ["pipeline", "StableDiffusionPipeline"]})
    )
    with pytest.raises(ModelError, match="code that comes with a model is not run"):
        load_model(settings(model))
    assert not proof.exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_of_the_hub(model: Path, tmp_path: Path, key: str) -> None:
    config = model / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: "owner/kernel:function"}))
    with pytest.raises(ModelError, match="foreign code is not run"):
        load_model(settings(model))
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {key: "owner/kernel"}}))
    with pytest.raises(CheckpointError, match="none is run"):
        read_config(CLIPConfig, tmp_path / "config.json")


def test_a_tokenizer_with_code(project: Path, proof: Path) -> None:
    folder = project / "tokenizer"
    folder.mkdir()
    (folder / "evil.py").write_text(module_text(proof))
    (folder / "config.json").write_text('{"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}')
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}'
    )
    (project / "prompts.txt").write_text("a fox\n")
    with pytest.raises(InputError):
        report_prompts(project / "prompts.txt", tokenizer=str(folder))
    assert not proof.exists()


@pytest.mark.parametrize("kind", ["script", "pickle"])
def test_a_data_set_with_code(
    tmp_path: Path, poison: bytes, proof: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "captions"
    folder.mkdir()
    name, content = {"script": ("captions.py", module_text(proof).encode()), "pickle": ("train.pkl", poison)}[kind]
    (folder / name).write_bytes(content)
    with pytest.raises(PromptSourceError):
        HubSource(dataset=str(folder)).collect(0)
    assert not proof.exists()


POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(proof) (w) file closefile\nshowpage\n%%EOF\n"
)


def test_postscript_in_the_place_of_an_image(tmp_path: Path, draw, family_folder: Callable[[str], Path]) -> None:
    ImageSetDataset(filepath=tmp_path / "set").save(draw("a fox"))
    (tmp_path / "set" / "images" / "p0-0.png").write_bytes(POSTSCRIPT)
    with pytest.raises(ImageFileError, match="not a readable PNG"):
        list(ImageSetDataset(filepath=tmp_path / "set").load().images)
    (tmp_path / "a.png").write_bytes(POSTSCRIPT)
    pd.DataFrame({"file_name": ["a.png"], "text": ["a fox"]}).to_csv(tmp_path / "metadata.csv", index=False)
    model = load_model(settings(family_folder("stable_diffusion")))
    with pytest.raises(RealImageError, match="no image that can be read"):
        encode_pairs(model, tmp_path, read_pairs(tmp_path, "text"), 1)


def test_the_canary_sings(proof: Path, poison: bytes) -> None:
    """What would be left behind, if a loader ran it."""
    torch.load(io.BytesIO(poison), weights_only=False) if poison.startswith(b"PK") else pickle.loads(poison)
    assert proof.exists()
