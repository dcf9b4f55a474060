"""The official side of the parity check and of the speed's, run in its own environment.

official.py make SIZE FOLDER                   makes checkpoints and tokenizers
official.py score SIZE FOLDER                  scores with hpsv2 and ImageReward, into FOLDER/official.json
official.py time SIZE FOLDER MODEL N_PROMPTS   CPU seconds of 16 images x N prompts, into FOLDER/official_time.json

The worker that runs them in a run (`rewards/official_worker.py`) opens the models.
"""

import importlib.util
import json
import sys
import time
import warnings
from pathlib import Path

import samples
import torch

warnings.filterwarnings("ignore")
_WORKER = Path(__file__).resolve().parents[2] / "src/rsidiff_kedro/rewards/official_worker.py"
_SPEC = importlib.util.spec_from_file_location("official_worker", _WORKER)  # by its path: a `clip.py` lies beside it
worker = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(worker)


def make(size: str, folder: Path) -> None:
    """Write the checkpoints and tokenizers; at full size CLIP's vocabulary is the package's own."""
    import hpsv2

    merges = samples.small_merges()
    if size == "full":
        merges = samples.official_merges(Path(hpsv2.__file__).parent / "src/open_clip/bpe_simple_vocab_16e6.txt.gz")
    samples.save_models(folder, size, merges)


def open_hpsv2(size: str, folder: Path):
    """The package's `score`, as rewards.hpsv2.implementation: official calls it."""
    return worker.open_hpsv2(**files(size, folder, "hpsv2_1", "HPS_v2.1_compressed.pt", "clip_tokenizer/merges.txt"))


def open_image_reward(size: str, folder: Path):
    """The package's model, as rewards.image_reward.implementation: official opens it."""
    named = files(size, folder, "image_reward", "ImageReward.pt", "bert_tokenizer/vocab.txt")
    return worker.open_image_reward(**named, med_config=str(folder / "image_reward" / "med_config.json"))


def files(size: str, folder: Path, model: str, checkpoint: str, vocabulary: str) -> dict:
    """Return what the worker opens; only a small model has a configuration."""
    config = str(folder / model / "config.json") if size == "small" else None
    return {"checkpoint": str(folder / model / checkpoint), "config": config, "vocabulary": str(folder / vocabulary)}


def score(size: str, folder: Path) -> None:
    """Score every image with every prompt."""
    images, prompts = samples.images(), samples.PROMPTS
    hpsv2, scores = open_hpsv2(size, folder), {}
    scores["hpsv2_1"] = [float(value) for prompt in prompts for value in hpsv2(images, prompt)]
    import hpsv2 as package

    package.img_score.model_dict.clear()
    del hpsv2
    model = open_image_reward(size, folder)
    with torch.no_grad():
        scores["image_reward"] = [model.score(prompt, image) for prompt in prompts for image in images]
    (folder / "official.json").write_text(json.dumps(scores), encoding="utf-8")


def measure(size: str, folder: Path, name: str, n_prompts: str) -> None:
    """CPU seconds of this process, user and system, all threads: for opening the model, and in all.

    Each as its README does: `hpsv2.score` once per prompt, which opens the checkpoint every time; `inference_rank` of
    ImageReward once per prompt.
    """
    images, prompts = samples.speed_inputs(int(n_prompts))
    unwanted = 0.0
    if name == "hpsv2_1":
        hpsv2 = open_hpsv2(size, folder)
        hpsv2([], "")
        loading = start = time.process_time()
        hpsv2([], "")  # what a call spends on opening the checkpoint
        again = time.process_time() - start
        scores = [float(value) for prompt in prompts for value in hpsv2(images, prompt)]
        loading, unwanted = loading + (len(prompts) - 1) * again, 2 * again
    else:
        model = open_image_reward(size, folder)
        loading = time.process_time()
        with torch.no_grad():
            scores = [value for prompt in prompts for value in model.inference_rank(prompt, images)[1]]
    seconds = {"loading": loading, "total": time.process_time() - unwanted, "scores": scores}
    (folder / "official_time.json").write_text(json.dumps(seconds), encoding="utf-8")


if __name__ == "__main__":
    {"make": make, "score": score, "time": measure}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
