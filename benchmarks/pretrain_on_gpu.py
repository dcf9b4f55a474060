"""Train the second embedded model (conf/scenes_sd3) in a limited time on a GPU: python benchmarks/pretrain_on_gpu.py

Calls what `kedro run --env=scenes_sd3 --pipeline=base_model` calls, on the same corpus and the shipped autoencoder's
latents, with as many steps as the time allows. The clean phase is followed by short noisy ones, and each is judged on
held-out prompts, until the accuracy falls below a limit. Writes to --out:

    report.json                      steps, losses and accuracy after each phase
    clean.safetensors                the transformer after the clean phase, float16
    noisy_<n>.safetensors            after the noisy phases whose accuracy is nearest to --target
    pipelines.tar                    the other parts of these pipelines, without the autoencoder
"""

import argparse
import copy
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.families.stable_diffusion_3 import StableDiffusion3
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.scenes import BASE_FOLDER
from rsidiff_kedro.scenes.pretraining import autoencoder, corpus, denoiser
from rsidiff_kedro.scenes.pretraining.cards import accuracy
from rsidiff_kedro.scenes.pretraining.denoiser import LatentPairs, Phase
from rsidiff_kedro.scenes.pretraining.fitting import Schedule
from rsidiff_kedro.scenes.pretraining.mmdit import MMDiTDenoiser, MMDiTSizes
from rsidiff_kedro.scenes.world.judge import judge_images
from rsidiff_kedro.scenes.world.renderer import Picture, render

CLEAN = corpus.NoiseRates(caption=0.0, stray=0.0, malformed=0.0)
NOISY = corpus.NoiseRates(caption=0.45, stray=0.32, malformed=0.22)
TWO_OBJECTS, SEED = 0.7, 0
START = time.monotonic()


def say(text: str) -> None:
    """Print a line with the seconds since the start."""
    sys.stdout.write(f"[{time.monotonic() - START:6.1f} s] {text}\n")
    sys.stdout.flush()


class Drawn(NamedTuple):
    """A corpus before it is encoded: pixels uint8 [n, 32, 32, 3] and captions."""

    pixels: np.ndarray
    captions: list[str]


def draw(noise: corpus.NoiseRates, size: int) -> tuple[list[Picture], list[str]]:
    """Sample the pictures and captions that `kedro run` renders."""
    pairs = list(corpus.draw_pairs(size, TWO_OBJECTS, noise, SEED))
    return [pair.picture for pair in pairs], [pair.caption for pair in pairs]


def render_all(pictures: list[Picture]) -> np.ndarray:
    """Render pictures in one process."""
    return np.stack([render(picture) for picture in pictures])


class Corpora:
    """Both corpora, which other processes draw and render meanwhile."""

    def __init__(self, pool: ProcessPoolExecutor, size: int) -> None:
        self._pool = pool
        self._drawn = {clean: pool.submit(draw, CLEAN if clean else NOISY, size) for clean in (True, False)}

    def rendered(self, clean: bool) -> Drawn:
        """Wait for a corpus."""
        pictures, captions = self._drawn[clean].result()
        chunks = [pictures[start : start + 1000] for start in range(0, len(pictures), 1000)]
        return Drawn(np.concatenate(list(self._pool.map(render_all, chunks))), captions)


def encode(vae: AutoencoderKL, drawn: Drawn, device: torch.device) -> LatentPairs:
    """Encode pictures, as float16."""
    latents = autoencoder.encode(vae.eval().to(device), drawn.pixels, 2048).half()
    say(f"{len(latents)} latents, deviation {float(latents.float().std()):.3f}")
    return LatentPairs(latents, drawn.captions)


def seconds_per_step(build: denoiser.Build, pairs: LatentPairs, batch: int, steps: int, device: torch.device) -> float:
    """Measure a step of training on a network that is thrown away."""
    torch.manual_seed(SEED)
    network = build(denoiser.build_tokenizer(), (16, 8, 8)).to(device)

    def run() -> float:
        begin = time.monotonic()
        denoiser.train_phase(network, Phase(Schedule(steps, batch, 1e-4), pairs), SEED, 0)
        return time.monotonic() - begin

    run()
    return run() / steps


def judged(
    network: denoiser.Denoiser, tokenizer: Any, vae: AutoencoderKL, pool: ProcessPoolExecutor, args: Any, steps: int
) -> tuple[dict[str, float], pd.DataFrame]:
    """Generate images of held-out prompts, and return the accuracy."""
    device = next(network.parameters()).device
    pipeline = copy.deepcopy(network).assemble(copy.deepcopy(vae), tokenizer).to(device)
    settings = ModelSettings(
        family="stable_diffusion_3", base="base_model", options={"max_sequence_length": 0}, device=device.type
    )
    scenes = corpus.held_out_scenes(args.prompts * 3 // 5, args.prompts * 2 // 5, SEED)
    prompts = prompt_table([scene.caption for scene in scenes], source="grammar")
    sampler = SamplerSettings(num_inference_steps=steps, guidance_scale=2.0, micro_batch_size=args.images_at_once)
    model = StableDiffusion3(pipeline, settings)
    images = sample_images(model, None, prompts, args.samples, sampler, SEED, "held_out", f"{steps} sampler steps")
    texts = images.metadata["text"].tolist()
    cuts = list(range(0, len(texts), 100))
    parts = pool.map(judge_images, [images.images[cut : cut + 100] for cut in cuts], [texts[c : c + 100] for c in cuts])
    verdicts = pd.concat(list(parts), ignore_index=True).assign(text=texts)
    figures = accuracy(verdicts) | {
        "malformed_rate": float((verdicts["malformed"] > 0).mean()),
        "uncalled_rate": float((verdicts["uncalled"] > 0).mean()),
    }
    return figures, verdicts


def half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert floating-point tensors to float16, on the CPU."""
    return {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in tensors.items()
    }


def load_snapshot(build: denoiser.Build, folder: Path, device: torch.device) -> tuple[denoiser.Denoiser, Any]:
    """Load the clean phase's snapshot, which an earlier call wrote to a folder."""
    tokenizer = denoiser.build_tokenizer()
    network = build(tokenizer, (16, 8, 8))
    with tempfile.TemporaryDirectory() as unpacked:
        shutil.unpack_archive(folder / "pipelines.tar", unpacked, filter="data")
        for name in ("text_encoder", "text_encoder_2"):
            weights = load_file(Path(unpacked) / "clean" / name / "model.safetensors")
            getattr(network, name).load_state_dict(weights)
    network.transformer.load_state_dict(load_file(folder / "clean.safetensors"))
    return network.float().to(device), tokenizer


def keep(network: denoiser.Denoiser, tokenizer: Any, vae: AutoencoderKL, name: str, out: Path, kept: Path) -> None:
    """Save a snapshot: the transformer to `out`, the rest of the pipeline to `kept`."""
    folder = kept / name
    pipeline = copy.deepcopy(network).cpu().assemble(vae, tokenizer)
    pipeline.save_pretrained(folder)
    shutil.rmtree(folder / "vae")
    for path in folder.rglob("*.safetensors"):
        save_file(half(load_file(path)), path, {"format": "pt"})
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    shutil.move(weights, out / f"{name}.safetensors")
    say(f"kept {name}: {(out / f'{name}.safetensors').stat().st_size / 2**20:.2f} MiB")


def pack(kept: Path, out: Path) -> None:
    """Write the small parts of all kept pipelines."""
    shutil.make_archive(str(out / "pipelines"), "tar", kept)


def noisy_phases(args: Any, pairs: LatentPairs) -> Iterator[Phase]:
    """Yield short phases until the time is over."""
    longest = 0.0
    while True:
        begin = time.monotonic()
        if begin - START + 1.2 * longest + 4 > args.seconds:
            say("the time is over")
            return
        yield Phase(Schedule(args.noisy_steps, args.noisy_batch, args.noisy_learning_rate, ema_decay=0.998), pairs)
        longest = max(longest, time.monotonic() - begin)


def clean_phase(args: Any, build: denoiser.Build, clean: LatentPairs, device: torch.device) -> Phase:
    """Return a phase that takes its share of the time left."""
    some = LatentPairs(torch.randn(2 * args.batch, 16, 8, 8), ["a red circle"] * 2 * args.batch)
    sizes_of_batch = (args.batch, 2 * args.batch)
    speeds = {batch: seconds_per_step(build, some, batch, args.timed_steps, device) for batch in sizes_of_batch}
    batch = 2 * args.batch if speeds[2 * args.batch] < 1.3 * speeds[args.batch] else args.batch
    say(f"seconds per step by batch size: {speeds}; batch size {batch}")
    left = args.seconds - (time.monotonic() - START)
    steps = max(int(args.clean_share * left / speeds[batch]) // 50 * 50, 50)
    say(f"clean phase: {steps} steps of {batch}")
    return Phase(Schedule(steps, batch, args.learning_rate, ema_decay=args.ema_decay), clean)


def train(args: Any, pool: ProcessPoolExecutor, kept: Path) -> None:
    """Train, judge and keep."""
    device, out, seen = torch.device(args.device), Path(args.out), dict[str, Any]()
    corpora = Corpora(pool, args.size)
    if device.type == "cuda":
        say(torch.cuda.get_device_name())
        torch.backends.cuda.matmul.allow_tf32 = True
    vae = AutoencoderKL.from_pretrained(BASE_FOLDER, subfolder="vae")
    sizes = MMDiTSizes(layers=args.layers, heads=args.heads)
    build = partial(MMDiTDenoiser, sizes)
    network, tokenizer = build(denoiser.build_tokenizer(), (16, 8, 8)), None
    say(f"{sum(parameter.numel() for parameter in network.transformer.parameters()) / 1e6:.2f} million parameters")

    def report(name: str, phase: Phase, losses: list[float]) -> float:
        results = {steps: judged(network, tokenizer, vae, pool, args, steps)[0] for steps in args.sampler_steps}
        seen[name] = {
            "steps": phase.schedule.steps,
            "batch_size": phase.schedule.batch_size,
            "learning_rate": phase.schedule.learning_rate,
            "losses": losses,
            "judged": results,
        }
        (out / "report.json").write_text(json.dumps(seen, indent=1), encoding="utf-8")
        say(f"{name}: losses {[round(loss, 4) for loss in losses[:: max(len(losses) // 12, 1)]]}")
        for steps, figures in results.items():
            say(f"{name}, {steps} sampler steps: " + ", ".join(f"{key} {value:.3f}" for key, value in figures.items()))
        return results[args.sampler_steps[0]]["accuracy"]

    if args.start:
        network, tokenizer = load_snapshot(build, Path(args.start), device)
    if args.clean_share:
        clean = encode(vae, corpora.rendered(True), device)
        if not args.start:
            network, tokenizer = denoiser.start_denoiser(build, clean, SEED, device)
            say("the text encoders are warm")
        phase = clean_phase(args, build, clean, device)
        losses = denoiser.train_phase(network, phase, args.seed, 1)
        keep(network, tokenizer, vae, "clean", out, kept)
        pack(kept, out)
        report("clean", phase, losses)

    noisy = encode(vae, corpora.rendered(False), device)
    if not args.clean_share:
        report("start", Phase(Schedule(0, 0, 0.0), noisy), [])
    accuracies: dict[str, float] = {}
    for number, phase in enumerate(noisy_phases(args, noisy), start=1):
        name = f"noisy_{number}"
        losses = denoiser.train_phase(network, phase, args.seed, 1 + number)
        accuracies[name] = report(name, phase, losses)
        nearest = sorted(accuracies, key=lambda each: abs(accuracies[each] - args.target))[: args.keep]
        if name in nearest:
            keep(network, tokenizer, vae, name, out, kept)
        for gone in accuracies.keys() - {*nearest}:
            shutil.rmtree(kept / gone, ignore_errors=True)
            (out / f"{gone}.safetensors").unlink(missing_ok=True)
        pack(kept, out)
        if accuracies[name] < args.target - args.below:
            say("the accuracy is low enough")
            break
    say(f"done: {accuracies}")


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--start", help="folder that an earlier call wrote, whose clean phase is continued")
    parser.add_argument("--seed", type=int, default=SEED, help="of the phases; another one for a continuation")
    parser.add_argument("--seconds", type=float, default=220, help="in all")
    parser.add_argument("--clean-share", type=float, default=0.62, help="of the time left after rendering; 0: none")
    parser.add_argument("--size", type=int, default=80_000, help="pairs of a corpus")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--batch", type=int, default=512, help="or twice as much, where that takes little longer")
    parser.add_argument("--timed-steps", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--ema-decay", type=float, default=0.998)
    parser.add_argument("--noisy-steps", type=int, default=150, help="of each noisy phase")
    parser.add_argument("--noisy-batch", type=int, default=256)
    parser.add_argument("--noisy-learning-rate", type=float, default=1.0e-3)
    parser.add_argument("--target", type=float, default=0.6, help="accuracy")
    parser.add_argument("--below", type=float, default=0.06, help="the target, where the noisy phases end")
    parser.add_argument("--keep", type=int, default=2, help="noisy snapshots, those nearest to the target")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--samples", type=int, default=4, help="per prompt")
    parser.add_argument("--sampler-steps", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--images-at-once", type=int, default=600)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    if not args.start and not args.clean_share:
        parser.error("--clean-share 0 continues an earlier call; name its folder with --start")
    Path(args.out).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(min(torch.get_num_threads(), 8))
    with tempfile.TemporaryDirectory() as kept:
        # A fork of a process that uses CUDA cannot be used.
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(args.workers, context) as pool:
            train(args, pool, Path(kept))


if __name__ == "__main__":
    main()
