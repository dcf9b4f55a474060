"""Real images with captions, as the training set of supervised fine-tuning."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from rsidiff_kedro.diffusion.backbones import PipelineBackbone
from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.errors import InputError
from rsidiff_kedro.prompts.table import prompt_id

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "metadata.csv": pd.read_csv,
    "metadata.jsonl": lambda path: pd.read_json(path, lines=True),
    "metadata.parquet": pd.read_parquet,
}
"""What the imagefolder layout of Hugging Face calls its table."""


class RealImageError(InputError):
    """A folder of real images cannot be used; the message says why."""


def read_pairs(folder: Path, text_column: str) -> pd.DataFrame:
    """The table of an imagefolder: file_name and text, a row an image.

    Raises:
        RealImageError: the folder, its table, a column, a caption or an image is missing.
    """
    found = [name for name in READERS if (folder / name).is_file()]
    if not found:
        raise RealImageError(
            f"sft.images: {folder} holds none of {', '.join(READERS)}; give a folder in the imagefolder layout of "
            "Hugging Face: images, and a table with their file_name and caption"
        )
    path = folder / found[0]
    try:
        table = READERS[found[0]](path)
    except (ValueError, OSError) as error:  # the errors of pandas' and pyarrow's parsers derive from these
        raise RealImageError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    lacking = sorted({"file_name", text_column} - set(table.columns))
    if lacking or table.empty:
        what = f"lacks the columns {lacking}; it has {sorted(map(str, table.columns))}" if lacking else "has no rows"
        raise RealImageError(f"{path}: {what}; the caption's column is sft.text_column")
    pairs = table[["file_name", text_column]].rename(columns={text_column: "text"}).reset_index(drop=True)
    silent = pairs["file_name"][pairs["text"].isna() | (pairs["text"].astype(str).str.strip() == "")]
    inside = folder.resolve()
    paths = {name: (folder / name).resolve() for name in pairs["file_name"].astype(str)}
    missing = [name for name, path in paths.items() if not (path.is_relative_to(inside) and path.is_file())]
    if len(silent) or missing:
        problem = f"{len(missing)} images are missing, {missing[0]} first" if missing else None
        raise RealImageError(f"{path}: {problem or f'{len(silent)} images have no caption, {silent.iloc[0]} first'}")
    return pairs.astype(str)


def encode_pairs(backbone: PipelineBackbone, folder: Path, pairs: pd.DataFrame, micro_batch_size: int) -> ImageSet:
    """A training set of the pairs: images cut to the model's square, their latents, and weights of one.

    Args:
        pairs: of `read_pairs`.
        micro_batch_size: images encoded at once.

    Raises:
        RealImageError: a file is no image.
    """
    side = backbone.latent_shape[1] * backbone.pipeline.vae_scale_factor
    images, latents = [], []
    with tqdm(total=len(pairs), desc="encoding real images", unit="image") as progress:
        for start in range(0, len(pairs), micro_batch_size):
            names = pairs["file_name"].iloc[start : start + micro_batch_size]
            batch = [_open(folder / name, side) for name in names]
            filled = batch + batch[-1:] * (micro_batch_size - len(batch))
            latents.append(backbone.encode_images(filled)[: len(batch)].float().cpu())
            images.extend(batch)
            progress.update(len(batch))
    return ImageSet(_metadata(pairs), images, torch.cat(latents))


def _open(path: Path, side: int) -> Image.Image:
    """The middle square of an image at this size."""
    try:
        with Image.open(path) as image:
            return ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (side, side), Image.Resampling.BICUBIC)
    except (UnidentifiedImageError, OSError) as error:
        raise RealImageError(f"{path}: no image that can be read ({error}); repair or remove it") from error


def _metadata(pairs: pd.DataFrame) -> pd.DataFrame:
    ids = [f"real_{number:06d}" for number in range(len(pairs))]
    return pd.DataFrame(
        {
            "file_name": [f"images/{image_id}.png" for image_id in ids],
            "image_id": ids,
            "prompt_id": pairs["text"].map(prompt_id),
            "text": pairs["text"],
            "sample_index": 0,
            "seed": 0,
            "guidance_scale": 0.0,
            "num_inference_steps": 0,
            "checkpoint": "real",
            "round": 0,
            "weight": 1.0,
        }
    )
