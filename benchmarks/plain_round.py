"""Compare a round with the same work in plain diffusers and peft: python benchmarks/plain_round.py

The plain side is what a careful user of the libraries writes, in float32: batches, no gradients where none are needed,
the adapter loaded as their guides load it, and their training example's loop. Both sides generate, save, score and
train on equally many images of the embedded model, about a fifth of a default round: 128 images to train on, 96 of
validation and test prompts, and 21 steps. The first round generates with the base, later ones with an adapter; a
default run has six rounds. Each part is timed in pairs, one side after the other; the table holds medians of CPU
seconds on one thread, and the median and range of their ratios.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from peft import LoraConfig
from PIL import Image
from torch.nn import functional

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.datasets import AdapterDataset, ImageSetDataset
from rsidiff_kedro.diffusion.early_dropping import EarlyDropping
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, LoraSettings, ModelSettings, Runtime, SamplerSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter
from rsidiff_kedro.rewards.registry import load_reward
from rsidiff_kedro.rewards.scoring import RewardOpening, with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings
from rsidiff_kedro.scenes import BASE_FOLDER
from rsidiff_kedro.scenes.pretraining.corpus import held_out_scenes

SAMPLER = SamplerSettings(num_inference_steps=8, guidance_scale=2.0, micro_batch_size=32)
SAMPLES = 4
"""Images per prompt in generation; evaluation generates two of some more prompts."""
ROUNDS = {
    "first round": ("generate", "evaluate", "score", "train"),
    "later round": ("generate with an adapter", "evaluate", "score", "train"),
}
ROUNDS["six rounds"] = (*ROUNDS["first round"], *5 * ROUNDS["later round"])
PARTS = tuple(dict.fromkeys(part for parts in ROUNDS.values() for part in parts))


class Sides:
    """Both sides' inputs: prompts, images of them, and an adapter."""

    def __init__(self, folder: Path, prompts: int, model: ModelSettings, runtime: Runtime, drop_after: int | None):
        self.folder, self.model = folder, model
        score = RewardOpening("proxy", RewardsSettings())
        self.dropping = EarlyDropping(drop_after, score, SAMPLES) if drop_after is not None else None
        self.sampler = SAMPLER.model_copy(update={"runtime": runtime})
        scenes = held_out_scenes(prompts // 2, prompts - prompts // 2, seed=0)
        self.prompts = prompt_table([scene.caption for scene in scenes], "grammar")
        self.texts = self.prompts["text"].tolist()
        tests = [scene.caption for scene in held_out_scenes(prompts * 3 // 4, prompts * 3 // 4, seed=1)]
        self.tests = prompt_table(tests, "grammar")
        self.training = FinetuneSettings(learning_rate=6e-4, steps=prompts * 2 // 3, batch_size=32)
        parent = initial_adapter(load_model(self.model), LoraSettings(rank=self.training.rank), seed=0)
        noise = torch.Generator().manual_seed(0)
        weights = {
            name: value + 0.01 * torch.randn(value.shape, generator=noise) for name, value in parent.weights.items()
        }
        self.adapter = Adapter(weights, parent.info)
        AdapterDataset(filepath=folder / "adapter").save(self.adapter)
        self.made = sample_images(
            load_model(self.model), None, self.prompts, SAMPLES, SAMPLER, 0, "benchmark", "generating"
        )
        self.images = [image.copy() for image in self.made.images]

    def save_ours(self, images: ImageSet) -> None:
        """Write an image set."""
        ImageSetDataset(filepath=self.folder / f"ours_{time.monotonic_ns()}").save(images)

    def generate_ours(self, adapter: Adapter | None = None) -> None:
        """Generate a round's samples."""
        model = load_model(self.model)
        given = (SAMPLES, self.sampler, 0, "round_1", "generating")
        self.save_ours(sample_images(model, adapter, self.prompts, *given, dropping=self.dropping))

    def generate_with_an_adapter_ours(self) -> None:
        """Generate a later round's samples."""
        self.generate_ours(self.adapter)

    def evaluate_ours(self) -> None:
        """Generate test images with an adapter."""
        model = load_model(self.model)
        self.save_ours(sample_images(model, self.adapter, self.tests, 2, self.sampler, 0, "test", "generating"))

    def score_ours(self) -> None:
        """Score as many images as were generated."""
        rows = [number % len(self.images) for number in range(len(self.images) + 2 * len(self.tests))]
        images = [self.images[row] for row in rows]
        with_scores(self.made.metadata.iloc[rows].reset_index(drop=True), images, ["proxy"], RewardsSettings())

    def train_ours(self) -> None:
        """Train on the samples, whose latents are known."""
        rows = self.made.metadata[["image_id", "prompt_id", "text"]].assign(round=1, weight=1.0)
        assert self.made.latents is not None
        finetune(load_model(self.model), self.adapter, TrainingSet(rows, self.made.latents), self.training, 0, 1)

    def _pipeline(self) -> StableDiffusionPipeline:
        pipeline = StableDiffusionPipeline.from_pretrained(BASE_FOLDER, safety_checker=None)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _generate_plain(self, pipeline: StableDiffusionPipeline, texts: list[str]) -> list[Image.Image]:
        folder = self.folder / f"plain_{time.monotonic_ns()}"
        folder.mkdir()
        images: list[Image.Image] = []
        for start in range(0, len(texts), SAMPLER.micro_batch_size):
            batch = texts[start : start + SAMPLER.micro_batch_size]
            images += pipeline(batch, num_inference_steps=8, guidance_scale=2.0).images
        for number, image in enumerate(images):
            image.save(folder / f"{number}.png")
        return images

    def generate_plain(self) -> None:
        """Generate a round's samples."""
        self._generate_plain(self._pipeline(), [text for text in self.texts for _ in range(SAMPLES)])

    def generate_with_an_adapter_plain(self) -> None:
        """Generate a later round's samples."""
        pipeline = self._pipeline()
        pipeline.load_lora_weights(self.folder / "adapter")
        self._generate_plain(pipeline, [text for text in self.texts for _ in range(SAMPLES)])

    def evaluate_plain(self) -> None:
        """Generate test images with an adapter."""
        pipeline = self._pipeline()
        pipeline.load_lora_weights(self.folder / "adapter")
        self._generate_plain(pipeline, [text for text in self.tests["text"] for _ in range(2)])

    def score_plain(self) -> None:
        """Score each prompt's images, as the packages' examples do."""
        reward = load_reward("proxy")
        for texts, count in ((self.texts, SAMPLES), (self.tests["text"], 2)):
            for number, text in enumerate(texts):
                own = [self.images[(number * count + sample) % len(self.images)] for sample in range(count)]
                reward.score(own, [text] * len(own))

    def train_plain(self) -> None:
        """Train as diffusers' text-to-image LoRA example does."""
        pipeline = self._pipeline()
        unet, vae, encoder, tokenizer = pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.tokenizer
        for network in (unet, vae, encoder):
            network.requires_grad_(False)
        targets = [
            "to_k",
            "to_q",
            "to_v",
            "to_out.0",
            "proj_in",
            "proj_out",
            "conv1",
            "conv2",
            "ff.net.0.proj",
            "ff.net.2",
        ]
        unet.add_adapter(LoraConfig(r=16, lora_alpha=16, init_lora_weights="gaussian", target_modules=targets))
        trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.training.learning_rate)
        schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
        texts = [text for text in self.texts for _ in range(SAMPLES)]
        pixels = torch.stack([torch.from_numpy(np.asarray(image).copy()) for image in self.images])
        pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        order = torch.randperm(len(texts)).repeat(1 + self.training.steps * self.training.batch_size // len(texts))
        unet.train()
        for step in range(self.training.steps):
            rows = order[step * self.training.batch_size : (step + 1) * self.training.batch_size]
            with torch.no_grad():
                latents = vae.encode(pixels[rows]).latent_dist.sample() * vae.config.scaling_factor
                states = encoder(tokens[rows])[0]
            noise = torch.randn_like(latents)
            times = torch.randint(0, schedule.config.num_train_timesteps, (len(rows),))
            noisy = schedule.add_noise(latents, noise, times)
            loss = functional.mse_loss(unet(noisy, times, states).sample, noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()


def seconds(work: Callable[[], None]) -> float:
    """Return the CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Time both sides in pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=32, help="at least 8; a default round has 150")
    parser.add_argument(
        "--runtime", choices=["torch", "compile", "onnxruntime"], default="torch", help="of our sampler"
    )
    parser.add_argument(
        "--drop-after", type=int, help="steps of 8 after which our generation drops half of the samples"
    )
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of our weights")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, float]]] = {part: [] for part in PARTS}
    with tempfile.TemporaryDirectory() as folder:
        model = ModelSettings(base="scenes", dtype=given.dtype)
        sides = Sides(Path(folder), given.prompts, model, given.runtime, given.drop_after)
        for pair in range(given.pairs + 1):
            for part in PARTS:
                name = part.replace(" ", "_")
                ours, plain = (seconds(getattr(sides, f"{name}_{side}")) for side in ("ours", "plain"))
                if pair:  # the first warms up
                    found[part].append((ours, plain))
    for name, parts in ROUNDS.items():
        pairs = zip(*(found[part] for part in parts), strict=True)
        found[name] = [(sum(ours for ours, _ in pair), sum(plain for _, plain in pair)) for pair in pairs]
    sys.stdout.write(
        "| part | plain, CPU s | ours, CPU s | plain / ours, median | range |\n| --- | --- | --- | --- | --- |\n"
    )
    for part, pairs in found.items():
        ratios = [plain / ours for ours, plain in pairs]
        ours, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        sys.stdout.write(f"| {part} | {plain:.2f} | {ours:.2f} | {statistics.median(ratios):.2f} | {spread} |\n")


if __name__ == "__main__":
    main()
