"""Our side of the parity check and of the speed's.

native.py score FOLDER                  scores what both sides read, into FOLDER/native.json
native.py time FOLDER MODEL N_PROMPTS   CPU seconds of 16 images x N prompts, into FOLDER/native_time.json
"""

import json
import sys
import time
from pathlib import Path

import samples

from rsidiff_kedro.rewards.registry import load_reward

TOKENIZERS = {"hpsv2_1": "clip_tokenizer", "image_reward": "bert_tokenizer"}


def open_reward(folder: Path, name: str):
    """The reward whose checkpoint and tokenizer lie in the folder."""
    tokenizer = str(folder / TOKENIZERS[name])
    return load_reward(name, checkpoint=str(folder / name), tokenizer=tokenizer, device="cpu")


def score(folder: Path) -> None:
    """Score every image with every prompt."""
    pairs = [(image, prompt) for prompt in samples.PROMPTS for image in samples.images()]
    scores = {name: open_reward(folder, name).score(*zip(*pairs)).tolist() for name in TOKENIZERS}
    (folder / "native.json").write_text(json.dumps(scores), encoding="utf-8")


def measure(folder: Path, name: str, n_prompts: str) -> None:
    """CPU seconds of this process, user and system, all threads: until the model is open, and in all."""
    images, prompts = samples.speed_inputs(int(n_prompts))
    reward = open_reward(folder, name)
    loading = time.process_time()
    scores = reward.score(*zip(*[(image, prompt) for prompt in prompts for image in images]))
    seconds = {"loading": loading, "total": time.process_time(), "scores": scores.tolist()}
    (folder / "native_time.json").write_text(json.dumps(seconds), encoding="utf-8")


if __name__ == "__main__":
    {"score": score, "time": measure}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
