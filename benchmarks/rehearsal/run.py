"""Run the method at full size on random weights, and list time, memory and disk of each stage: `make rehearsal`.

    python benchmarks/rehearsal/run.py          # conf/sd14 and conf/sd3, two rounds each; writes docs/rehearsal.md

It takes about an hour of two cores, 24 GB of memory and 60 GB of disk. A GPU is used if there is one. Sizes are those
of the environments, at 512 pixels; only counts of prompts, images and steps are small. Linux only: memory is read from
/proc. The models stay in the folder for the next time.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

import models
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open

from rsidiff_kedro.pipelines import stages
from rsidiff_kedro.pipelines.stage import Place, compose

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 2
STEPS = {"sd14": 2, "sd3": 1}
"""Denoising steps: one of Stable Diffusion 3 takes a minute of a CPU per image."""
LIMIT = 24e9
"""The memory that a run may take, in bytes."""
PROMPTS = [
    f"a {color} {thing} on the street" for color in ("red", "green", "blue") for thing in ("dog", "house", "tree")
]
_STARTED = re.compile(r"Running node: .* -> \[([\w.]+)")


@dataclass
class Cost:
    """Hold what a stage took in all rounds."""

    seconds: float = 0
    cpu: float = 0
    memory: int = 0
    disk: int = 0


class Moment(NamedTuple):
    """Wall and CPU seconds of a run, and the bytes of its data so far."""

    seconds: float
    cpu: float
    disk: int


def main() -> None:
    """Build, run, check the adapters, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs="*", default=list(models.PIPELINES), help="sd14, sd3")
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "rehearsal")
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "rehearsal.md")
    given = parser.parse_args()
    build = [sys.executable, str(Path(__file__).with_name("models.py")), str(given.folder / "models")]
    subprocess.run(build, check=True)  # a process of its own, whose memory is free afterwards
    parts = [heading()]
    for env in given.environments:
        project = copy_project(given.folder / env)
        costs = run(project, env, given.folder / "models")
        parts.append(page_of(env, costs))
        sys.stdout.write(parts[-1])  # before the check, which would lose an hour's figures
        check_adapters(project / "data" / env, given.folder / "models" / env)
        given.table.write_text("\n".join(parts), encoding="utf-8")  # at once: the next environment takes an hour


def copy_project(folder: Path) -> Path:
    """Make a project folder anew, whose logs name each step as it begins."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "src").mkdir(parents=True)
    shutil.copytree(ROOT / "conf", folder / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    handlers = {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}}
    loggers = {"kedro.pipeline.node": {"level": "INFO", "handlers": ["out"]}}
    config = {"version": 1, "disable_existing_loggers": False, "handlers": handlers, "loggers": loggers}
    (folder / "logging.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def dtype() -> str:
    """Return what the environments say, or float32 on a CPU that computes slowly with that."""
    fast = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def parameters(env: str, folder: Path) -> list[str]:
    """Return what replaces ids on the hub by files, and large counts by small ones."""
    rewards = folder / "rewards"
    clip, bert = rewards / "clip_tokenizer", rewards / "bert_tokenizer"
    steps = f"{{num_inference_steps: {STEPS[env]}}}"
    return [
        f"rounds={ROUNDS}",
        f"model.base={folder / env}",
        "model.revision=null",
        f"model.dtype={dtype()}",
        *(["model.options={t5: false}"] if env == "sd3" else []),
        f"rewards.hpsv2={{checkpoint: {rewards / 'hpsv2_1'}, tokenizer: {clip}}}",
        f"rewards.image_reward={{checkpoint: {rewards / 'image_reward'}, tokenizer: {bert}}}",
        f"rewards.pick_score={{checkpoint: {rewards / 'pick_score'}, tokenizer: {clip}}}",
        f"rewards.clip_score={{checkpoint: {rewards / 'clip_score'}, tokenizer: {clip}}}",
        "prompt_curation.source={kind: file, path: prompts.txt}",
        "prompt_curation.evaluation_source=null",
        "prompt_curation.probe={samples_per_prompt: 1, sampler: {num_inference_steps: 1}}",
        "prompt_curation.pool_size=3,prompt_curation.prompts_per_round=3",
        "prompt_curation.validation_size=2,prompt_curation.test_size=2,gate.samples_per_prompt=1",
        f"sampler={steps}",
        f"synthesis={{samples_per_prompt: 2, sampler: {steps}}}",
        "finetune={steps: 2, batch_size: 2, micro_batch_size: 1}",
        "evaluation.bootstrap_resamples=50",
        "sampler.micro_batch_size=2,synthesis.sampler.micro_batch_size=2",
        "weighting.shrinkage=0.5",
    ]


def run(project: Path, env: str, folder: Path) -> dict[str, Cost]:
    """Run `kedro run`; return the cost of each stage."""
    method = [stage for stage in stages() if stage.place is not Place.APART]
    pipelines = compose(method, ROUNDS)
    stage_of = {node.outputs[0]: stage.name for stage in method for node in pipelines[stage.name].nodes}
    command = [sys.executable, "-m", "kedro", "run", f"--env={env}", "--pipelines=rsi"]
    command += [f"--params={','.join(parameters(env, folder.resolve()))}"]
    environment = os.environ | {"KEDRO_LOGGING_CONFIG": str(project / "logging.json"), "HF_HUB_OFFLINE": "1"}
    costs: dict[str, Cost] = defaultdict(Cost)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    stage, now, lines = "start-up", Moment(time.monotonic(), 0, 0), []
    with subprocess.Popen(command, cwd=project, env=environment, text=True, encoding="utf-8", **streams) as process:
        for line in process.stdout or ():
            lines = [*lines[-50:], line]
            match = _STARTED.search(line)
            if match:
                now = charge(costs[stage], process.pid, now, project / "data")
                stage = stage_of[match[1]]
        # The process has ended: of its last step, in the report, neither CPU time nor memory is known any more.
        charge(costs[stage], None, now, project / "data")
    if process.returncode:
        raise SystemExit("".join(lines))
    most = max(cost.memory for cost in costs.values())
    if most > LIMIT:
        raise SystemExit(f"{env}: {most / 1e9:.1f} GB of memory, and {LIMIT / 1e9:.0f} GB are allowed")
    return costs


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a running process, which other work on the machine changes little."""
    after_name = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def charge(cost: Cost, process: int | None, last: Moment, data: Path) -> Moment:
    """Add to a stage what its step has taken since the last moment; return this one."""
    disk = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    now = Moment(time.monotonic(), cpu_seconds(process) if process else last.cpu, disk)
    cost.seconds += now.seconds - last.seconds
    cost.cpu += now.cpu - last.cpu
    cost.disk += max(0, now.disk - last.disk)
    if process is not None:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        cost.memory = max(cost.memory, int(peak[1]) * 1024 if peak else 0)
        Path(f"/proc/{process}/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    return now


def check_adapters(data: Path, base: Path) -> None:
    """Load the adapter of every round into the plain pipeline, and check that every tensor has found its place."""
    absent = {} if base.name == "sd14" else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = DiffusionPipeline.from_pretrained(base, torch_dtype=torch.bfloat16, **absent)
    found = sorted(data.glob("06_models/rsi/round_*/candidate/*Z/candidate"))
    if len(found) != ROUNDS:
        raise SystemExit(f"{data}: {len(found)} adapters, and {ROUNDS} rounds")
    for folder in found:
        pipeline.load_lora_weights(folder, adapter_name="trained")
        denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
        placed = sum("lora_" in name for name, _ in denoiser.named_parameters())
        with safe_open(next(folder.glob("*.safetensors")), "pt") as file:
            stored = sum("lora" in name for name in file.keys())  # noqa: SIM118
        if placed != stored:
            raise SystemExit(f"{folder}: {stored} tensors, of which plain diffusers placed {placed}")
        pipeline.unload_lora_weights()


def heading() -> str:
    """Return the top of the page."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    return (
        f"# Rehearsal at full size\n\nMade by `make rehearsal` ({date.today()}; {device}): each environment runs as it "
        f"stands, {ROUNDS} rounds at\n512 pixels, on random weights of full size in the official formats, with small "
        "counts of prompts, images and\nsteps. All adapters were then loaded into plain diffusers pipelines, where "
        "every tensor found its place.\n"
    )


def page_of(env: str, costs: dict[str, Cost]) -> str:
    """Return the table of an environment."""
    rows = [
        f"| {stage} | {cost.seconds:.0f} | {cost.cpu:.0f} | {cost.memory / 1e9:.1f} | {cost.disk / 1e6:.0f} |"
        for stage, cost in costs.items()
    ]
    total, cpu = (sum(getattr(cost, kind) for cost in costs.values()) for kind in ("seconds", "cpu"))
    most, disk = max(cost.memory for cost in costs.values()), sum(cost.disk for cost in costs.values())
    rows.append(f"| all | {total:.0f} | {cpu:.0f} | {most / 1e9:.1f} | {disk / 1e6:.0f} |")
    head = "| stage, all rounds | seconds | CPU seconds | peak of memory, GB | disk, MB |\n" + 5 * "| --- " + "|\n"
    return f"\n## {env}, {dtype()}\n\n{head}" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
