"""What tests share: a project folder of their own, with this project's configuration and no data; rendered scenes."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from filelock import FileLock
from kedro.framework import project as kedro_project
from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from mlflow import MlflowClient
from parity import samples
from PIL import Image, ImageEnhance
from playwright.sync_api import Browser, sync_playwright
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.votes import Votes, read_votes
from rsidiff_kedro.datasets import ImageSetDataset
from rsidiff_kedro.labelling.pairs import choose_pairs
from rsidiff_kedro.labelling.session import Session, Source
from rsidiff_kedro.rewards.head import ScoreHead
from rsidiff_kedro.scenes.pretraining.denoiser import build_tokenizer
from rsidiff_kedro.scenes.world.grammar import Scene, sample_scene
from rsidiff_kedro.scenes.world.renderer import Picture, compose, render

ROOT = Path(__file__).parents[1]
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)  # slow machines are no failures
hypothesis.settings.load_profile("repeatable")
Spoil = Callable[[Picture, np.random.Generator], Picture]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", action="store_true", help="write the tables of docs/ in place of checking them")


LONG = ("faults", "bad_input", "test_killed_runs.py", "pipelines", "test_how_to.py", "test_package.py", "test_site.py")
"""Begun first: each worker takes whole files, and a long one at the end would have the others wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        place = item.path.relative_to(ROOT / "tests").parts[0]
        return LONG.index(place) if place in LONG else len(LONG)

    items.sort(key=rank)


def make_project(folder: Path) -> Path:
    """Make a Kedro project of this package in an empty or new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "conf", folder / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "src").mkdir()
    if kedro_project.PACKAGE_NAME is None:
        bootstrap_project(folder)
    sys.path.insert(0, str(folder / "src"))  # as Kedro does; the rest is the same for every project and takes a while
    return folder


@pytest.fixture(scope="session")
def new_project() -> Callable[[Path], Path]:
    """See `make_project`."""
    return make_project


@pytest.fixture(scope="session")
def link_project() -> Callable[[Path], Path]:
    """Return a function that makes a project folder whose configuration is this repository's own."""

    def link(folder: Path) -> Path:
        (folder / "src").mkdir(parents=True)
        for name in ("conf", "pyproject.toml"):
            (folder / name).symlink_to(ROOT / name)
        bootstrap_project(folder)
        return folder

    return link


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium of the system, without a window."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])  # for root in a container
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mlflow.db` without a run, to be copied into a project: making one takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project folder, which is the working directory too."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # a thousand projects there would slow every import down
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    return folder


@pytest.fixture(scope="session")
def finished_project(link_project: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with a run of the whole method under conf/test; tests may add runs that leave out the report.

    One process of several makes the run, and all copy it.
    """
    together = (
        tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.getbasetemp()
    )
    made = together / "finished_project"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            folder = link_project(tmp_path_factory.mktemp("whole") / "project")
            with KedroSession.create(folder, env="test") as session:
                session.run(pipeline_names=["rsi"])
            folder.rename(made)
    copied = shutil.copytree(made, tmp_path_factory.mktemp("finished") / "project", symlinks=True)
    bootstrap_project(copied)  # for sessions of this process, if another one made the run
    return copied


@pytest.fixture
def load_context(project: Path) -> Callable[..., KedroContext]:
    """Return a function that makes a context in the empty project: `load_context({"rounds": 2}, env="test")`."""

    def load(runtime_params: dict[str, Any] | None = None, env: str | None = None) -> KedroContext:
        with KedroSession.create(project, env=env, runtime_params=runtime_params) as session:
            return session.load_context()

    return load


@pytest.fixture(scope="session")
def scene_images() -> Callable[..., ImageSet]:
    """`scene_images(scenes, samples_per_prompt)`: see `render_scenes`."""
    return render_scenes


def render_scenes(
    scenes: Sequence[Scene],
    samples: int,
    seed: int = 0,
    spoil: dict[int, Spoil] | None = None,
) -> ImageSet:
    """Render the scenes, `samples` times each; those of a sample index in `spoil` are spoiled by its function."""
    rng = np.random.default_rng(seed)
    rows, images = [], []
    for number, scene in enumerate(scenes):
        for sample in range(samples):
            picture = compose(scene, rng)
            picture = (spoil or {}).get(sample, lambda same, _: same)(picture, rng)
            images.append(Image.fromarray(render(picture)))
            name = f"p{number}_{sample}"
            rows.append(
                {
                    "file_name": f"images/{name}.png",
                    "image_id": name,
                    "prompt_id": f"p{number}",
                    "text": scene.caption,
                    "sample_index": sample,
                    "seed": 0,
                    "guidance_scale": 2.0,
                    "num_inference_steps": 8,
                    "checkpoint": "rendered",
                }
            )
    return ImageSet(pd.DataFrame(rows), images)


@pytest.fixture(scope="session")
def scenes_on_disk(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Rendered scenes of 24 prompts, three samples each, the second and third darkened, as a run keeps them."""
    rng = np.random.default_rng(0)
    scenes = render_scenes([sample_scene(rng, 1) for _ in range(24)], 3)
    darker = [
        ImageEnhance.Brightness(image).enhance(1 - 0.25 * sample)
        for image, sample in zip(scenes.images, scenes.metadata["sample_index"])
    ]
    dataset = ImageSetDataset(filepath=tmp_path_factory.mktemp("scenes") / "images")
    dataset.save(ImageSet(scenes.metadata, darker))
    return dataset.load()


@pytest.fixture
def give_votes(scenes_on_disk: ImageSet, tmp_path: Path) -> Callable[..., Votes]:
    """`give_votes(prefers, count)`: votes for the image that `prefers(image)` rates higher; None: neither."""

    def give(prefers: Callable[[Image.Image], float] | None, count: int, version: str = "1") -> Votes:
        pairs = choose_pairs(scenes_on_disk, 0, 1)
        session = Session(pairs, Source("run", 1), tmp_path / "votes" / version / "votes")
        for number, pair in enumerate(pairs[:count]):
            rated = [prefers(Image.open(path).convert("RGB")) if prefers else 0 for path in pair.paths]
            session.vote(number, "tie" if rated[0] == rated[1] else "left" if rated[0] > rated[1] else "right")
        return read_votes(tmp_path / "votes" / version / "votes")

    return give


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`family_folder("stable_diffusion_xl")`: a small random pipeline of the family, as `save_pretrained` writes it."""
    builders: dict[str, Callable[[], DiffusionPipeline]] = {
        "stable_diffusion": build_stable_diffusion,
        "stable_diffusion_xl": build_stable_diffusion_xl,
        "stable_diffusion_3": build_stable_diffusion_3,
        "flux": build_flux,
        "sana": build_sana,
    }
    folders: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in folders:
            torch.manual_seed(0)
            folders[family] = tmp_path_factory.mktemp(family)
            builders[family]().save_pretrained(folders[family])
        return folders[family]

    return folder


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`hpsv2_1`, `image_reward`, `clip` (transformers' format), `aesthetic`, `clip_tokenizer`, `bert_tokenizer`."""
    folder = tmp_path_factory.mktemp("rewards")
    samples.save_models(folder, "small")
    vocabulary = len(json.loads((folder / "clip_tokenizer" / "vocab.json").read_text()))
    size = samples.CLIP_SIZES["small"]
    numbered(CLIPModel(CLIPConfig(**samples.clip_config(size, vocabulary))), 3).save_pretrained(folder / "clip")
    (folder / "aesthetic").mkdir()
    torch.save(numbered(ScoreHead(size.embed), 4).state_dict(), folder / "aesthetic" / "aesthetic-model.pth")
    return folder


def numbered(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Return the network with weights of `samples.random_weights`."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(samples.random_weights(shapes, seed))
    return network.eval()


def build_stable_diffusion() -> StableDiffusionPipeline:
    """Epsilon-prediction, as Stable Diffusion 1.4."""
    tokenizer = build_tokenizer()
    return StableDiffusionPipeline(
        vae=small_autoencoder(),
        text_encoder=CLIPTextModel(text_config(tokenizer, 16)),
        tokenizer=tokenizer,
        unet=small_unet(cross_attention_dim=16),
        scheduler=diffusion_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def build_stable_diffusion_xl() -> StableDiffusionXLPipeline:
    tokenizer = build_tokenizer()
    return StableDiffusionXLPipeline(
        vae=small_autoencoder(),
        text_encoder=CLIPTextModel(text_config(tokenizer, 16)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer, 16)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=small_unet(
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ),
        scheduler=diffusion_scheduler(),
    )


def build_stable_diffusion_3() -> StableDiffusion3Pipeline:
    tokenizer, (tokenizer_3, text_encoder_3) = build_tokenizer(), small_t5()
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
    )
    return StableDiffusion3Pipeline(
        vae=small_autoencoder(shift_factor=0.06),
        text_encoder=CLIPTextModelWithProjection(text_config(tokenizer, 16)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer, 16)),
        text_encoder_3=text_encoder_3,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=tokenizer_3,
        transformer=without_zeros(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def build_flux() -> FluxPipeline:
    """Guidance-distilled, as Flux.1-dev."""
    tokenizer, (tokenizer_2, text_encoder_2) = build_tokenizer(), small_t5()
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    )
    return FluxPipeline(
        vae=small_autoencoder(shift_factor=0.06),
        text_encoder=CLIPTextModel(text_config(tokenizer, 16)),
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        transformer=without_zeros(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


def build_sana() -> SanaPipeline:
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *"abcdefghijklmnopqrstuvwxyz,"]
    tokenizer = GemmaTokenizer(vocab={token: number for number, token in enumerate(tokens)})
    text_encoder = Gemma2Config(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
    )
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=32,
        sample_size=16,
    )
    autoencoder = AutoencoderDC(
        latent_channels=4,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        scaling_factor=0.41407,
    )
    return SanaPipeline(
        vae=autoencoder,
        text_encoder=Gemma2Model(text_encoder),
        tokenizer=tokenizer,
        transformer=without_zeros(transformer),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, final_sigmas_type="zero"
        ),
    )


def small_t5() -> tuple[T5Tokenizer, T5EncoderModel]:
    """Reads letters."""
    pieces = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz,")]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0)
    config = T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return tokenizer, T5EncoderModel(config)


def without_zeros(network: torch.nn.Module) -> torch.nn.Module:
    """Initialise what diffusers initialises with zeros: it would generate the same whatever the prompt."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return network


def diffusion_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def small_autoencoder(**config: Any) -> AutoencoderKL:
    """32 x 32 pixels to 4 x 16 x 16 latents."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return AutoencoderKL(
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        **blocks,
        **config,
    )


def small_unet(**config: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **config,
    )


def text_config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
