"""Measure a GPU at full size on random weights, beside plain diffusers: python benchmarks/gpu.py

Generates and trains with Stable Diffusion 1.4 and 3 (without T5) at 512 pixels in bfloat16, and scores with HPSv2.1 and
ImageReward. The plain sides are the pipelines and training examples of diffusers as a careful user would write them.
Each part is a process of its own. All take about eight minutes of an H100 and 40 GB of its memory. Results go to
--results, of which gpu_page.py makes docs/gpu.md. `--small` runs the same code at toy size, also without a GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import cast_training_params, compute_density_for_timestep_sampling
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.datasets import ImageSetDataset
from rsidiff_kedro.diffusion.families.stable_diffusion import StableDiffusion
from rsidiff_kedro.diffusion.families.stable_diffusion_3 import StableDiffusion3
from rsidiff_kedro.diffusion.lora import lora_config
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.replica import Plan, Replica, TrainingRows
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, LoraSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import initial_adapter

sys.path[:0] = [str(Path(__file__).with_name("rehearsal")), str(Path(__file__).with_name("parity"))]
import models  # noqa: E402
from gpu_scores import PROMPTS, ceilings, digest, report, samples_tokenizer, score, synchronize  # noqa: E402


@dataclass(frozen=True)
class Case:
    """A model and how conf/ uses it: denoising steps, guidance, images at once, images and steps of a training."""

    family: type[DiffusionModel]
    build: Callable[[Any], Any]
    num_inference_steps: int
    guidance_scale: float
    batch_size: int
    training_batch: int = 16
    training_steps: int = 8


CASES = {
    "sd14": Case(StableDiffusion, models.stable_diffusion, 50, 7.5, 8, training_steps=16),
    "sd3": Case(StableDiffusion3, models.stable_diffusion_3, 28, 7.0, 4),
}

TRAININGS: tuple[dict[str, Any], ...] = (
    {"micro_batch_size": 4},
    {"micro_batch_size": 16},
    {"micro_batch_size": 8},
    {"micro_batch_size": 16, "deterministic": True},
    {"micro_batch_size": 16, "runtime": "compile"},
)


class Bench:
    """An opened model of a case, its prompts and what was measured."""

    def __init__(self, name: str, small: bool, folder: Path) -> None:
        self.compiled = not small or torch.cuda.is_available()  # minutes on a CPU
        self.case, self.small, self.folder, self.name = CASES[name], small, folder, name
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        torch.manual_seed(0)
        tokenizer = samples_tokenizer(folder)
        with torch.device(self.device):
            pipeline = self.case.build(tokenizer, small)
        settings = ModelSettings(
            base="random",
            device=self.device,
            dtype=str(self.dtype).removeprefix("torch."),
            resolution=None if small else 512,
        )
        self.model = self.case.family(pipeline.to(self.device, self.dtype), settings)
        self.steps = 2 if small else self.case.num_inference_steps
        self.texts = PROMPTS[: 2 * self.case.batch_size]
        self.found: list[dict[str, Any]] = []

    def sampler(self, runtime: str = "torch") -> SamplerSettings:
        """Return the sampler's settings."""
        return SamplerSettings(
            num_inference_steps=self.steps,
            guidance_scale=self.case.guidance_scale,
            micro_batch_size=self.case.batch_size,
            runtime=runtime,  # type: ignore[arg-type]
        )

    def measure(self, part: str, side: str, work: Callable[[], Any], items: int, repeats: int = 2, **more: Any) -> Any:
        """Run once to warm up, then time `repeats` runs; record items per second and the peak of memory."""
        start = time.perf_counter()
        result = work()
        synchronize(self.device)
        warm = time.perf_counter() - start
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            work()
            synchronize(self.device)
            seconds.append(time.perf_counter() - start)
        memory = torch.cuda.max_memory_allocated() if self.device == "cuda" else 0
        row = {
            "model": self.name,
            "part": part,
            "side": side,
            "rate": items / float(np.median(seconds)),
            "rates": [items / each for each in seconds],
            "first": warm - float(np.median(seconds)),
            "memory": memory,
        } | more
        report(row)
        return result

    def attempt(self, title: str, work: Callable[[], None]) -> None:
        """Run a part; a failure is recorded and the next part runs."""
        try:
            work()
        except Exception:
            report({"model": self.name, "part": title, "error": traceback.format_exc(limit=-4)})

    # -- generation ---------------------------------------------------------------------------------------------------

    def generate(self) -> None:
        """Generate on both sides, and by each runtime."""
        count = len(self.texts)
        self.attempt("generate", lambda: self.measure("generate", "plain diffusers", self.generate_plain, count))
        first = self.measure("generate", "ours, torch", self.generate_ours, count)
        again = self.generate_ours()
        same = digest(first) == digest(again)
        report({"model": self.name, "part": "bytes", "what": "images of two runs in one process", "same": same})
        report({"model": self.name, "part": "digest", "what": "images", "digest": digest(first)})
        self.attempt("flops", self.count_operations)
        if not self.compiled:
            return
        self.attempt("channels_last", lambda: self.generate_changed("channels_last", "torch", first))
        self.attempt("compile", lambda: self.generate_changed("compile", "compile", first))

    def generate_changed(self, title: str, runtime: str, before: list[np.ndarray]) -> None:
        """Generate in channels_last, or with the denoiser compiled; compare the images."""
        if title == "channels_last":
            self.model.denoiser.to(memory_format=torch.channels_last)
        torch.compiler.reset()
        made = self.measure("generate", f"ours, {title}", lambda: self.generate_ours(runtime), len(self.texts))
        apart = [np.abs(one.astype(int) - other) for one, other in zip(made, before, strict=True)]
        largest, mean = int(max(each.max() for each in apart)), float(np.mean([each.mean() for each in apart]))
        report({"model": self.name, "part": "difference", "side": title, "largest": largest, "mean": mean})

    def generate_ours(self, runtime: str = "torch") -> list[np.ndarray]:
        """Generate and write an image set."""
        table = prompt_table(self.texts, "benchmark")
        made = sample_images(self.model, None, table, 1, self.sampler(runtime), 0, "benchmark", "generating")
        ImageSetDataset(filepath=self.folder / f"ours_{time.monotonic_ns()}").save(made)
        return [np.asarray(image) for image in made.images]

    def generate_plain(self) -> None:
        """Generate and write images with the pipeline."""
        pipeline, size = self.model.pipeline, self.case.batch_size
        folder = self.folder / f"plain_{time.monotonic_ns()}"
        folder.mkdir()
        for start in range(0, len(self.texts), size):
            made = pipeline(
                self.texts[start : start + size],
                num_inference_steps=self.steps,
                guidance_scale=self.case.guidance_scale,
                height=self.model.image_size,
                width=self.model.image_size,
            )
            for number, image in enumerate(made.images):
                image.save(folder / f"{start + number}.png")

    def count_operations(self) -> None:
        """Count the floating-point operations of one image's denoising."""
        conditioning = self.model.conditioning(self.texts[:2])
        noise = torch.randn((2, *self.model.latent_shape), device=self.device, dtype=self.dtype)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.model.denoise(noise, torch.full((2,), 500, device=self.device), conditioning)
        operations = counter.get_total_flops() / 2  # of one image and step
        report({"model": self.name, "part": "operations", "denoiser": operations, "image": operations * 2 * self.steps})

    # -- training -----------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train on both sides; rates are images per second."""
        size, steps = self.case.training_batch, 1 if self.small else self.case.training_steps
        shape = (size, *self.model.latent_shape)
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        table = prompt_table(PROMPTS[:size], "benchmark")
        rows = table[["prompt_id", "text"]].assign(image_id=table["prompt_id"], round=1, weight=1.0)
        layers = LoraSettings(rank=16, layers="attention")
        parent = initial_adapter(self.model, layers, seed=0)
        self.model.remove_adapter()
        self.attempt("train", lambda: self.train_plain(layers, size, steps))
        encoders = {name: getattr(self.model.pipeline, name) for name in self.model.pipeline.components}
        checkpointing = self.name == "sd3"  # as in conf/
        data = TrainingRows.of(TrainingSet(rows, latents))
        for changes in TRAININGS if self.name == "sd14" else TRAININGS[:2]:
            settings = FinetuneSettings(
                rank=16,
                layers="attention",
                steps=steps,
                batch_size=size,
                ema_decay=0.99,
                gradient_checkpointing=checkpointing,
                **{name: value for name, value in changes.items() if name != "deterministic"},
            )
            title = ", ".join(f"{name} {value}" for name, value in changes.items())
            for name, component in encoders.items():
                setattr(self.model.pipeline, name, component)
            deterministic = bool(changes.get("deterministic"))
            plan = Plan(settings, 0, 1)
            work = partial(self.train_ours, title, encoders, parent, data, plan, deterministic)
            self.attempt("train", work)
        for name, component in encoders.items():
            setattr(self.model.pipeline, name, component)

    def train_ours(
        self, title: str, encoders: dict[str, Any], parent: Any, data: TrainingRows, plan: Plan, deterministic: bool
    ) -> None:
        """Train twice as a round does, step by step; record the median step, and whether adapters are the same."""
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        made, first = [], 0.0
        times: list[float] = []
        for _ in range(2):
            torch.compiler.reset()
            for name, component in encoders.items():
                setattr(self.model.pipeline, name, component)
            start = time.perf_counter()
            replica = Replica(self.model, parent, data, plan, None)
            times = []
            for step in range(plan.settings.steps):
                begun = time.perf_counter()
                replica.backward(step)
                replica.update()
                synchronize(self.device)
                times.append(time.perf_counter() - begun)
            made.append(replica.finish([0.0] * plan.settings.steps)[0].digest)
            first = max(first, time.perf_counter() - start - plan.settings.steps * float(np.median(times)))
            self.model.denoiser.__dict__.pop("forward", None)
            self.model.remove_adapter()
            self.model.denoiser.disable_gradient_checkpointing()
        torch.use_deterministic_algorithms(False)
        size, steady = plan.settings.batch_size, times[len(times) // 4 :]
        row = {"model": self.name, "part": "train", "side": f"ours, {title}", "first": first}
        row |= {"rate": size / float(np.median(steady)), "rates": [size / each for each in steady]}
        report(row | {"memory": torch.cuda.max_memory_allocated() if self.device == "cuda" else 0})
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        what = f"adapters of two trainings in one process, {title}"
        report({"model": self.name, "part": "bytes", "what": what, "same": made[0] == made[1]})

    def train_plain(self, layers: LoraSettings, size: int, steps: int) -> None:
        """Train as diffusers' examples do: each step encodes its images and prompts."""
        denoiser = self.model.denoiser
        denoiser.add_adapter(lora_config(layers, self.model.lora_targets["attention"]), adapter_name="plain")
        if self.dtype != torch.float32:
            cast_training_params(denoiser, dtype=torch.float32)
        trained = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4)
        side = self.model.image_size
        pixels = torch.rand((size, 3, side, side), generator=torch.Generator().manual_seed(0)) * 2 - 1
        loss_of = self.plain_loss_flow if self.name == "sd3" else self.plain_loss_noise
        denoiser.train()
        if self.name == "sd3":
            denoiser.enable_gradient_checkpointing()

        def work() -> None:
            for _ in range(steps):
                with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
                    loss = loss_of(pixels.to(self.device, self.dtype), PROMPTS[:size])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                optimizer.zero_grad()

        checkpointing = ", gradient checkpointing" if self.name == "sd3" else ""
        try:
            self.measure("train", f"plain diffusers, {size} at once{checkpointing}", work, size * steps, repeats=1)
        finally:
            denoiser.disable_gradient_checkpointing()
            denoiser.eval()
            self.model.remove_adapter()

    def plain_latents(self, pixels: Tensor) -> Tensor:
        """Encode pixels to the scale that the denoiser sees."""
        vae = self.model.pipeline.vae
        with torch.no_grad():
            latents = vae.encode(pixels).latent_dist.sample()
        return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def plain_loss_noise(self, pixels: Tensor, texts: list[str]) -> Tensor:
        """Compute the loss of train_text_to_image_lora.py."""
        pipeline, latents = self.model.pipeline, self.plain_latents(pixels)
        schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
        tokens = pipeline.tokenizer(
            texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            states = pipeline.text_encoder(tokens.to(self.device))[0]
        noise = torch.randn_like(latents)
        times = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),), device=self.device).long()
        prediction = pipeline.unet(schedule.add_noise(latents, noise, times), times, states).sample
        return functional.mse_loss(prediction.float(), noise.float())

    def plain_loss_flow(self, pixels: Tensor, texts: list[str]) -> Tensor:
        """Compute the loss of train_dreambooth_lora_sd3.py with --precondition_outputs=0."""
        pipeline, latents = self.model.pipeline, self.plain_latents(pixels)
        schedule = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config)
        with torch.no_grad():
            states, _, pooled, _ = pipeline.encode_prompt(
                texts, texts, texts, device=self.device, do_classifier_free_guidance=False
            )
        noise = torch.randn_like(latents)
        places = compute_density_for_timestep_sampling("logit_normal", len(latents), 0.0, 1.0)
        steps = (places * schedule.config.num_train_timesteps).long()
        sigmas = schedule.sigmas[steps].to(self.device, latents.dtype)[:, None, None, None]
        noisy = (1.0 - sigmas) * latents + sigmas * noise
        prediction = pipeline.transformer(noisy, states, pooled, timestep=schedule.timesteps[steps].to(self.device))
        return (prediction.sample.float() - (noise - latents).float()).square().mean()


PARTS = ("ceilings", "sd14", "sd3", "score", "sd14_again")


def run_part(part: str, small: bool) -> None:
    """Measure one part in this process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if part == "ceilings":
            ceilings()
        elif part == "score":
            score(small, folder)
        else:
            bench = Bench(part.removesuffix("_again"), small, folder)
            if part.endswith("_again"):
                digest_again = digest(bench.generate_ours())
                report({"model": bench.name, "part": "digest", "what": "images, again", "digest": digest_again})
                return
            bench.attempt("train", bench.train)  # first: generation leaves compiled blocks behind
            bench.attempt("generate", bench.generate)


def main() -> None:
    """Measure each part in a process of its own, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="toy sizes")
    parser.add_argument("--part", choices=PARTS, help="measure this part alone, in this process")
    parser.add_argument("--results", type=Path, default=Path("gpu.json"), help="a file for the raw results")
    given = parser.parse_args()
    if given.part:
        run_part(given.part, given.small)
        return
    rows: list[dict[str, Any]] = []
    for part in PARTS:
        command = [sys.executable, __file__, "--part", part, *(["--small"] if given.small else [])]
        started = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=False)
        added = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        added.append({"model": part, "part": "whole", "seconds": time.monotonic() - started, "exit": done.returncode})
        sys.stdout.write("".join(f"{json.dumps(row)}\n" for row in added))
        sys.stdout.flush()
        rows += added
        given.results.write_text(
            json.dumps({"device": device_name(), "date": str(date.today()), "rows": rows}), "utf-8"
        )


def device_name() -> str:
    """Return the GPU's name, or the CPU's cores."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
