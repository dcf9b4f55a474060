"""Make the inputs of both sides of the parity check: checkpoints in official formats, vocabularies, images, prompts.

Everything is random, made by NumPy's Philox generator from a name, so that it is the same with every version of torch.
The official environment reads this file too: it imports torch, NumPy and Pillow alone.
"""

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class ClipSize:
    """open_clip's numbers of a CLIP."""

    embed: int
    patch: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    text_width: int
    text_layers: int
    text_heads: int
    image: int = 224
    context: int = 77


@dataclass(frozen=True)
class BlipSize:
    """Numbers of ImageReward's two towers."""

    patch: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    text_width: int
    text_layers: int
    text_heads: int
    image: int = 224
    vocabulary: int = 30524
    positions: int = 512


CLIP_SIZES = {
    "small": ClipSize(32, 32, 64, 2, 4, 48, 2, 3),
    "full": ClipSize(1024, 14, 1280, 32, 16, 1024, 24, 16),
}
BLIP_SIZES = {
    "small": BlipSize(32, 64, 2, 4, 48, 2, 4, positions=64),
    "full": BlipSize(16, 1024, 24, 16, 768, 12, 12),
}
HEAD_WIDTHS = (1024, 128, 64, 16, 1)
HEAD_NUMBERS = (0, 2, 4, 6, 7)
"""The linear layers among the head's layers."""


def open_clip_shapes(size: ClipSize, vocabulary: int) -> Shapes:
    """Every tensor of an open_clip checkpoint."""
    places = (size.image // size.patch) ** 2 + 1
    shapes: Shapes = {
        "positional_embedding": (size.context, size.text_width),
        "text_projection": (size.text_width, size.embed),
        "logit_scale": (),
        "visual.class_embedding": (size.vision_width,),
        "visual.positional_embedding": (places, size.vision_width),
        "visual.proj": (size.vision_width, size.embed),
        "visual.conv1.weight": (size.vision_width, 3, size.patch, size.patch),
        "token_embedding.weight": (vocabulary, size.text_width),
    }
    for name, width in (("visual.ln_pre", size.vision_width), ("visual.ln_post", size.vision_width)):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    shapes |= {"ln_final.weight": (size.text_width,), "ln_final.bias": (size.text_width,)}
    towers = (
        ("visual.transformer", size.vision_width, size.vision_layers),
        ("transformer", size.text_width, size.text_layers),
    )
    for tower, width, layers in towers:
        for number in range(layers):
            block = f"{tower}.resblocks.{number}"
            linear = {"attn.out_proj": (width, width), "mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width)}
            shapes |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
            shapes |= {f"{block}.{name}.weight": shape for name, shape in linear.items()}
            shapes |= {f"{block}.{name}.bias": shape[:1] for name, shape in linear.items()}
            shapes |= {f"{block}.{name}.{kind}": (width,) for name in ("ln_1", "ln_2") for kind in ("weight", "bias")}
    return shapes


def image_reward_shapes(size: BlipSize) -> Shapes:
    """Every tensor of ImageReward's checkpoint."""
    width, text = size.vision_width, size.text_width
    vision, bert = "blip.visual_encoder", "blip.text_encoder"
    linear: dict[str, tuple[int, int]] = {"blip.vision_proj": (256, width), "blip.text_proj": (256, text)}
    norms = {f"{vision}.norm": width, f"{bert}.embeddings.LayerNorm": text}
    for number in range(size.vision_layers):
        block = f"{vision}.blocks.{number}"
        linear |= {f"{block}.attn.qkv": (3 * width, width), f"{block}.attn.proj": (width, width)}
        linear |= {f"{block}.mlp.fc1": (4 * width, width), f"{block}.mlp.fc2": (width, 4 * width)}
        norms |= {f"{block}.norm1": width, f"{block}.norm2": width}
    for number in range(size.text_layers):
        block = f"{bert}.encoder.layer.{number}"
        for attention, seen in (("attention", text), ("crossattention", width)):
            linear |= {f"{block}.{attention}.self.{part}": (text, seen) for part in ("key", "value")}
            linear |= {
                f"{block}.{attention}.self.query": (text, text),
                f"{block}.{attention}.output.dense": (text, text),
            }
            norms[f"{block}.{attention}.output.LayerNorm"] = text
        linear |= {f"{block}.intermediate.dense": (4 * text, text), f"{block}.output.dense": (text, 4 * text)}
        norms[f"{block}.output.LayerNorm"] = text
    for number, shape in zip(HEAD_NUMBERS, zip(HEAD_WIDTHS, (text, *HEAD_WIDTHS))):
        linear[f"mlp.layers.{number}"] = shape
    shapes: Shapes = {
        f"{vision}.cls_token": (1, 1, width),
        f"{vision}.pos_embed": (1, (size.image // size.patch) ** 2 + 1, width),
        f"{vision}.patch_embed.proj.weight": (width, 3, size.patch, size.patch),
        f"{vision}.patch_embed.proj.bias": (width,),
        f"{bert}.embeddings.word_embeddings.weight": (size.vocabulary, text),
        f"{bert}.embeddings.position_embeddings.weight": (size.positions, text),
    }
    shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    return shapes | {f"{name}.{kind}": (width,) for name, width in norms.items() for kind in ("weight", "bias")}


def random_weights(shapes: Shapes, seed: int) -> dict[str, torch.Tensor]:
    """Tensors of these shapes, each from its own name: norms near one, matrices that keep a signal's size."""
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.Generator(np.random.Philox([seed, zlib.crc32(name.encode())]))
        values = rng.standard_normal(shape, np.float32)
        is_norm = name.endswith("weight") and len(shape) == 1
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 and "embed" not in name.replace("patch_embed", "") else 0
        scale = np.float32(0.1 if not fan_in else fan_in**-0.5)
        if name == "logit_scale":
            values, scale = np.float32(4.6052), np.float32(1)
        weights[name] = torch.from_numpy(np.asarray(values * scale + (1 if is_norm else 0), np.float32))
    return weights


def save_open_clip(path: Path, size: ClipSize, vocabulary: int, seed: int = 1) -> None:
    """A checkpoint as HPSv2's: the tensors under `state_dict`."""
    torch.save({"epoch": 1, "state_dict": random_weights(open_clip_shapes(size, vocabulary), seed)}, path)


def save_image_reward(path: Path, size: BlipSize, seed: int = 2) -> None:
    """A checkpoint as ImageReward's, with the buffer of positions that it holds."""
    weights = random_weights(image_reward_shapes(size), seed)
    weights["blip.text_encoder.embeddings.position_ids"] = torch.arange(size.positions)[None]
    torch.save(weights, path)


def clip_config(size: ClipSize, vocabulary: int) -> dict:
    """transformers' config.json of a CLIP of this size."""
    return {
        "projection_dim": size.embed,
        "text_config": {
            "hidden_size": size.text_width,
            "intermediate_size": 4 * size.text_width,
            "num_hidden_layers": size.text_layers,
            "num_attention_heads": size.text_heads,
            "max_position_embeddings": size.context,
            "vocab_size": vocabulary,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": 0,
            "hidden_act": "gelu",
            "projection_dim": size.embed,
        },
        "vision_config": {
            "hidden_size": size.vision_width,
            "intermediate_size": 4 * size.vision_width,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.vision_heads,
            "patch_size": size.patch,
            "image_size": size.image,
            "hidden_act": "gelu",
            "projection_dim": size.embed,
        },
    }


def blip_config(size: BlipSize) -> dict:
    """transformers' config.json of an ImageReward of this size."""
    return {
        "vision_config": {
            "hidden_size": size.vision_width,
            "intermediate_size": 4 * size.vision_width,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.vision_heads,
            "patch_size": size.patch,
            "image_size": size.image,
            "layer_norm_eps": 1e-6,
        },
        "text_config": {
            "hidden_size": size.text_width,
            "intermediate_size": 4 * size.text_width,
            "num_hidden_layers": size.text_layers,
            "num_attention_heads": size.text_heads,
            "max_position_embeddings": size.positions,
            "vocab_size": size.vocabulary,
        },
    }


def med_config(size: BlipSize) -> dict:
    """The official package's med_config.json."""
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": size.text_width,
        "initializer_range": 0.02,
        "intermediate_size": 4 * size.text_width,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": size.positions,
        "model_type": "bert",
        "num_attention_heads": size.text_heads,
        "num_hidden_layers": size.text_layers,
        "pad_token_id": 0,
        "add_type_embeddings": False,
        "vocab_size": size.vocabulary,
        "encoder_width": size.vision_width,
        "add_cross_attention": True,
    }


TEXT = (
    "a an the of on in at by with and red green blue dog cat house castle tree light dark cinematic painting photo "
    "portrait man woman child city street night morning highly detailed digital art cafe"
)
WORDS = TEXT.split()
"""Words that the small vocabularies know whole; other words come in pieces."""


def byte_letters() -> dict[int, str]:
    """The printable letter of each byte, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def small_merges() -> list[tuple[str, str]]:
    """Merges that put the words together letter by letter."""
    merges = []
    for word in WORDS:
        letters = [*word[:-1], word[-1] + "</w>"]
        merges += [("".join(letters[:end]), letters[end]) for end in range(1, len(letters))]
    return list(dict.fromkeys(merges))


def official_merges(path: Path) -> list[tuple[str, str]]:
    """CLIP's merges from the official package's bpe_simple_vocab_16e6.txt.gz."""
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : 49152 - 256 - 2 + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]


def save_clip_tokenizer(folder: Path, merges: list[tuple[str, str]]) -> int:
    """vocab.json and merges.txt as transformers reads them; returns the number of entries."""
    letters = list(byte_letters().values())
    entries = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({entry: number for number, entry in enumerate(entries)}), encoding="utf-8"
    )
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n", encoding="utf-8")
    return len(entries)


def save_bert_tokenizer(folder: Path, size: int = 30522) -> None:
    """A vocabulary in BERT's format: the five special entries, letters, the words, and names that fill it up."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    letters += [chr(code) for code in range(0x430, 0x450)]  # Cyrillic
    entries = list(dict.fromkeys([*special, *letters, *("##" + letter for letter in letters), *WORDS]))
    entries += [f"[unused{number}]" for number in range(size - len(entries))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(entries) + "\n", encoding="utf-8")


def save_models(folder: Path, size: str, merges: list[tuple[str, str]] | None = None) -> None:
    """Write what both sides read: `hpsv2_1/`, `image_reward/`, `clip_tokenizer/` and `bert_tokenizer/`.

    Without merges the vocabulary of CLIP is a small one.
    """
    clip, blip = CLIP_SIZES[size], BLIP_SIZES[size]
    vocabulary = save_clip_tokenizer(folder / "clip_tokenizer", merges or small_merges())
    save_bert_tokenizer(folder / "bert_tokenizer")
    for name in ("hpsv2_1", "image_reward"):
        (folder / name).mkdir(exist_ok=True)
    save_open_clip(folder / "hpsv2_1" / "HPS_v2.1_compressed.pt", clip, vocabulary)
    save_image_reward(folder / "image_reward" / "ImageReward.pt", blip)
    (folder / "image_reward" / "med_config.json").write_text(json.dumps(med_config(blip)), encoding="utf-8")
    if size != "full":  # which is the size that both sides take unless they are told
        (folder / "hpsv2_1" / "config.json").write_text(json.dumps(clip_config(clip, vocabulary)), encoding="utf-8")
        (folder / "image_reward" / "config.json").write_text(json.dumps(blip_config(blip)), encoding="utf-8")


PROMPTS = [
    "a red dog",
    "",
    "a highly detailed digital painting of a castle at night, cinematic light " * 12,
    "ein Hündchen, été, naïve café & “quotes” \u2013 犬と猫 🐕",
    "портрет of a WOMAN\n in  the   street",
    "don't &amp;amp; it's 2026: #1!!! <b>art</b>",
]
"""Plain, empty, too long, not ASCII, blanks and capitals, entities and marks."""


def speed_inputs(n_prompts: int) -> tuple[list[Image.Image], list[str]]:
    """16 pictures of 512 x 512 pixels, as a diffusion model generates them, and up to 16 prompts of some length."""
    prompts = [f"a highly detailed painting of a {word} on the street at night, cinematic light" for word in WORDS]
    return [picture(512, 512, seed) for seed in range(16)], prompts[:n_prompts]


def images() -> list[Image.Image]:
    """Odd images that both sides can read: modes, shapes, the very size of the network; smooth and noisy ones."""
    square = picture(256, 256, 0)
    palette = Image.frombytes("P", (300, 200), picture(300, 200, 6).convert("L").tobytes())
    palette.putpalette(np.random.Generator(np.random.Philox(8)).integers(0, 256, 768).astype(np.uint8).tobytes())
    return [
        square,
        picture(512, 512, 1),
        picture(224, 224, 2),
        picture(640, 360, 3),
        picture(97, 301, 4),
        picture(31, 17, 5),
        square.convert("L"),
        palette,
        picture(40, 1500, 7),
        Image.new("RGB", (512, 512), (255, 0, 0)),
    ]


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Triangular waves and noise, of integers alone, so that it is the same everywhere."""
    rng = np.random.Generator(np.random.Philox(seed))
    rows, columns = np.mgrid[0:height, 0:width]
    slopes = rng.integers(1, 9, (3, 2))
    waves = [abs((rows * down + columns * across) % 320 - 160) for down, across in slopes]
    noise = rng.integers(-40, 41, (height, width, 3))
    return Image.fromarray(np.clip(40 + np.stack(waves, -1) + noise, 0, 255).astype(np.uint8))
