"""Writes what benchmarks/studies/claims.yml reads into data/study_inputs: pairs for fine-tuning, and hopeless prompts.

    python benchmarks/study_inputs.py

Pairs are pictures with captions as the embedded model was trained on, noisy as web pairs are, or clean. Fewer pairs are
the first ones of more.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from rsidiff_kedro.scenes.plugins.prompt_source import GrammarSource
from rsidiff_kedro.scenes.pretraining.corpus import NoiseRates, draw_corpus
from rsidiff_kedro.scenes.world.grammar import COLORS, RELATIONS, SHAPES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "data" / "study_inputs"
SEED = 1000
"""No run's, and not the corpus's own."""
SIZES = {"noisy": (2750,), "clean": (30, 100, 300, 1000, 2750)}
TWO_OBJECTS = 0.4
"""Share of captions with two objects, as in conf/scenes."""


def write_pairs(folder: Path, size: int, noise: NoiseRates) -> None:
    """Write pairs in imagefolder layout."""
    corpus = draw_corpus(size, TWO_OBJECTS, noise, SEED)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:06d}.png" for number in range(size)]
    for name, image in zip(names, corpus["image"], strict=True):
        (folder / name).write_bytes(image)
    table = pd.DataFrame({"file_name": names, "text": corpus["caption"], "noise": corpus["noise"]})
    table.to_csv(folder / "metadata.csv", index=False)


def write_hopeless_prompts(path: Path) -> None:
    """Write 330 captions of the grammar, and 110 prompts of three objects, which the base cannot generate."""
    captions = GrammarSource(count=330).collect(seed=0).query("split == 'pool'")["text"].tolist()
    rng = np.random.default_rng(0)
    beyond = []
    for _ in range(110):
        first, second, third = (f"a {rng.choice(list(COLORS))} {rng.choice(SHAPES)}" for _ in range(3))
        beyond.append(f"{first} {rng.choice(RELATIONS)} {second} {rng.choice(RELATIONS)} {third}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(captions + beyond) + "\n", encoding="utf-8")


def main() -> None:
    """Write everything."""
    conf = yaml.safe_load((ROOT / "conf/scenes/parameters_base_model.yml").read_text(encoding="utf-8"))
    rates = {
        "noisy": NoiseRates(**conf["base_model"]["corpus"]["noise"]),
        "clean": NoiseRates(**dict.fromkeys(NoiseRates.model_fields, 0.0)),
    }
    for kind, sizes in SIZES.items():
        for size in sizes:
            write_pairs(FOLDER / f"{kind}_{size}", size, rates[kind])
    write_hopeless_prompts(FOLDER / "hopeless_prompts.txt")


if __name__ == "__main__":
    main()
