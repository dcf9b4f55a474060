"""Score with the official packages of HPSv2 and ImageReward, as a process in an environment of theirs.

`python -I official_worker.py`, started by `official.py`; imports nothing of this project. Reads JSON from standard
input, one object a line, and answers each with one: first {"model", "checkpoint", "config", "vocabulary", …} with
{"ready": versions}, then {"images": [path, …], "prompts": [text, …]} with {"scores": [number, …]}. Anything that goes
wrong is answered with {"error": text}. Ends when standard input does, so with the process that started it.

Only what keeps the official code from running without a network, or on a network of another size, is replaced.
"""

import functools
import gzip
import importlib.metadata
import json
import os
import sys
import tempfile
import warnings
from typing import Any

LIMIT = 1 << 20
"""Characters of a line."""
PACKAGES = ("hpsv2x", "image-reward", "torch", "torchvision")


def open_hpsv2(checkpoint: str, config: "str | None", vocabulary: "str | None", **_: Any) -> Any:
    """Return a function (paths or images, prompt) -> scores: the package's own `score`.

    Args:
        checkpoint: the official file.
        config: transformers' of a network of another size; None for the official one.
        vocabulary: CLIP's merges.txt, which only a network of another size reads.
    """
    from hpsv2 import img_score
    from hpsv2.src.open_clip import factory, tokenizer

    if config is not None:
        with (
            tempfile.NamedTemporaryFile("w+b", suffix=".gz") as merges,
            open(str(vocabulary), encoding="utf-8") as lines,
        ):
            merges.write(gzip.compress(lines.read().strip("\n").encode()))
            merges.flush()
            tokenizer._tokenizer = tokenizer.SimpleTokenizer(bpe_path=merges.name)
        factory._MODEL_CONFIGS["ViT-H-14"] = _open_clip_config(config)
    create = img_score.create_model_and_transforms
    # Its starting weights are a download of 4 GB that the checkpoint then replaces.
    img_score.create_model_and_transforms = lambda name, pretrained, **options: create(name, None, **options)
    return functools.partial(img_score.score, cp=checkpoint)


def _open_clip_config(path: str) -> dict:
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    text, vision = config["text_config"], config["vision_config"]
    return {
        "embed_dim": config["projection_dim"],
        "vision_cfg": {
            "image_size": vision["image_size"],
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "patch_size": vision["patch_size"],
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "layers": text["num_hidden_layers"],
        },
    }


def open_image_reward(
    checkpoint: str, config: "str | None", vocabulary: str, med_config: str, device: str = "cpu", **_: Any
) -> Any:
    """Return the package's model.

    Args:
        checkpoint: the official file.
        config: transformers' of a network of another size; None for the official one.
        vocabulary: BERT's vocab.txt.
        med_config: the package's own configuration of the text encoder.
        device: cpu or cuda.
    """
    import ImageReward as package
    import torch
    from ImageReward.models.BLIP import blip, blip_pretrain
    from ImageReward.models.BLIP.vit import VisionTransformer

    module: Any = sys.modules["ImageReward.ImageReward"]  # the package hides it behind the class of its name
    original = blip.BertTokenizer
    blip.BertTokenizer = type("", (), {"from_pretrained": staticmethod(lambda name: original(vocabulary))})
    if config is not None:
        with open(config, encoding="utf-8") as file:
            sizes = json.load(file)
        vision, head = sizes["vision_config"], module.MLP
        tower = VisionTransformer(
            img_size=vision["image_size"],
            patch_size=vision["patch_size"],
            embed_dim=vision["hidden_size"],
            depth=vision["num_hidden_layers"],
            num_heads=vision["num_attention_heads"],
        )
        blip_pretrain.create_vit = lambda *_: (tower, vision["hidden_size"])
        module.MLP = lambda _: head(sizes["text_config"]["hidden_size"])
    model = package.load(checkpoint, device=device, med_config=med_config)
    missing = set(model.state_dict()) - set(
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    )  # the package says nothing
    if missing:
        raise ValueError(f"the official model has tensors that the checkpoint lacks: {sorted(missing)[:5]}")
    return model


def open_model(model: str, **files: Any) -> Any:
    """Return a function (paths, prompts) -> scores; torch reads nothing but tensors of a checkpoint."""
    import torch

    torch.load = functools.partial(torch.load, weights_only=True)
    if model.startswith("hpsv2"):
        torch.load = functools.lru_cache(maxsize=1)(torch.load)  # hpsv2 reads its checkpoint for each prompt
        score = open_hpsv2(**files)
        return lambda images, prompts: _by_prompt(score, images, prompts)
    torch.set_grad_enabled(False)
    opened = open_image_reward(**files)
    return lambda images, prompts: [opened.score(prompt, image) for image, prompt in zip(images, prompts)]


def _by_prompt(score: Any, images: list, prompts: list) -> list:
    """Call the package once for each prompt."""
    scores = [0.0] * len(images)
    for prompt in dict.fromkeys(prompts):
        rows = [row for row, other in enumerate(prompts) if other == prompt]
        for row, value in zip(rows, score([images[row] for row in rows], prompt)):
            scores[row] = value
    return scores


def versions() -> dict:
    """Return the versions of what scores."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def main() -> None:
    """Answer the lines of standard input."""
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the packages print is no answer
    score = None
    while line := sys.stdin.readline(LIMIT):
        try:
            answer: dict[str, Any]
            asked = json.loads(line)
            if score is None:
                score, answer = open_model(**asked), {"ready": versions()}
            else:
                answer = {"scores": [float(value) for value in score(asked["images"], asked["prompts"])]}
        except Exception as error:  # of the packages, whatever it is: the process that asks raises it
            answer = {"error": f"{type(error).__name__}: {error}"[:1000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
