"""Our side of the parity check: python benchmarks/parity/native.py FOLDER writes FOLDER/native.json."""

import json
import sys
from pathlib import Path

import samples

from rsidiff_kedro.rewards import load_reward


def main() -> None:
    """Score every image with every prompt by the models whose checkpoints lie in the folder."""
    folder = Path(sys.argv[1])
    images, prompts = samples.images(), samples.PROMPTS
    pairs = [(image, prompt) for prompt in prompts for image in images]
    scores = {}
    for name, tokenizer in (("hpsv2.1", "clip_tokenizer"), ("image_reward", "bert_tokenizer")):
        reward = load_reward(name, checkpoint=str(folder / name), tokenizer=str(folder / tokenizer), device="cpu")
        scores[name] = reward.score(*zip(*pairs)).tolist()
    (folder / "native.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
