"""The official side of the parity check and of the speed's, run in its own environment.

official.py make SIZE FOLDER                   makes checkpoints and tokenizers
official.py score SIZE FOLDER                  scores with hpsv2 and ImageReward, into FOLDER/official.json
official.py time SIZE FOLDER MODEL N_PROMPTS   CPU seconds of 16 images x N prompts, into FOLDER/official_time.json

Only what keeps the official code from running without a network, or at a small size, is replaced.
"""

import functools
import json
import sys
import time
import warnings
from pathlib import Path

import samples
import torch

warnings.filterwarnings("ignore")


def make(size: str, folder: Path) -> None:
    """Write the checkpoints and tokenizers; at full size CLIP's vocabulary is the package's own."""
    import hpsv2

    merges = samples.small_merges()
    if size == "full":
        merges = samples.official_merges(Path(hpsv2.__file__).parent / "src/open_clip/bpe_simple_vocab_16e6.txt.gz")
    samples.save_models(folder, size, merges)
    samples.save_merges(folder / "merges.txt.gz", merges)


def open_hpsv2(size: str, folder: Path):
    """The package's `score`, made to start from no download and, at the small size, to build the small network."""
    from hpsv2 import img_score
    from hpsv2.src.open_clip import factory, tokenizer

    clip = samples.CLIP_SIZES[size]
    if size == "small":
        tokenizer._tokenizer = tokenizer.SimpleTokenizer(bpe_path=str(folder / "merges.txt.gz"))
        vision = {"image_size": clip.image, "layers": clip.vision_layers, "width": clip.vision_width}
        vision |= {"head_width": clip.vision_width // clip.vision_heads, "patch_size": clip.patch}
        text = {"context_length": clip.context, "vocab_size": tokenizer._tokenizer.vocab_size}
        text |= {"width": clip.text_width, "heads": clip.text_heads, "layers": clip.text_layers}
        factory._MODEL_CONFIGS["ViT-H-14"] = {"embed_dim": clip.embed, "vision_cfg": vision, "text_cfg": text}
    create = img_score.create_model_and_transforms
    # Its starting weights are a download of 4 GB that the checkpoint then replaces.
    img_score.create_model_and_transforms = lambda name, pretrained, **options: create(name, None, **options)
    return functools.partial(img_score.score, cp=str(folder / "hpsv2_1" / "HPS_v2.1_compressed.pt"))


def open_image_reward(size: str, folder: Path):
    """The package's model, with a vocabulary from disk and, at the small size, small towers."""
    import ImageReward as package
    from ImageReward.models.BLIP import blip, blip_pretrain
    from ImageReward.models.BLIP.vit import VisionTransformer

    module = sys.modules["ImageReward.ImageReward"]  # the package hides it behind the class of its name
    vocabulary = str(folder / "bert_tokenizer" / "vocab.txt")
    original = blip.BertTokenizer
    blip.BertTokenizer = type("", (), {"from_pretrained": staticmethod(lambda name: original(vocabulary))})
    if size == "small":
        small = samples.BLIP_SIZES[size]
        towers = VisionTransformer(
            img_size=small.image,
            patch_size=small.patch,
            embed_dim=small.vision_width,
            depth=small.vision_layers,
            num_heads=small.vision_heads,
        )
        blip_pretrain.create_vit = lambda *_: (towers, small.vision_width)
        head = module.MLP
        module.MLP = lambda _: head(small.text_width)
    checkpoint, config = folder / "image_reward" / "ImageReward.pt", folder / "image_reward" / "med_config.json"
    model = package.load(str(checkpoint), device="cpu", med_config=str(config))
    missing = set(model.state_dict()) - set(torch.load(checkpoint))  # the package itself says nothing of them
    if missing:
        raise SystemExit(f"the official model has tensors that the checkpoint lacks: {sorted(missing)[:5]}")
    return model


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
