"""Near-duplicates among many prompts, in seconds and memory: python benchmarks/near_duplicates.py FILE COLUMN [COUNT]

The prompts are made from those of the file: each word follows another as it does there; one in fifty is said twice.
"""

import random
import resource
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from rsidiff_kedro.core.prompt_table import normalize_text
from rsidiff_kedro.prompts.near_duplicates import find_near_duplicates
from rsidiff_kedro.prompts.sources.file import FileSource


def make_prompts(texts: list[str], count: int) -> list[str]:
    """So many prompts of 4 to 25 words."""
    followers = defaultdict(list)
    for words in map(str.split, texts):
        for one, other in pairwise(words):
            followers[one].append(other)
    rng = random.Random(0)
    prompts: list[str] = []
    while len(prompts) < count:
        words = [rng.choice(texts).split()[0]]
        length = rng.randint(4, 25)
        while len(words) < length and followers[words[-1]]:
            words.append(rng.choice(followers[words[-1]]))
        prompts += [" ".join(words)] * (1 + (rng.random() < 0.02))
    return prompts[:count]


def main() -> None:
    """Time one search."""
    source = FileSource(path=Path(sys.argv[1]), column=sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    texts = [normalize_text(text) for text in source.collect(0)["text"] if text.strip()]
    prompts = make_prompts(texts, count)
    start = time.process_time()
    found = int((find_near_duplicates(prompts, 0.9, []) != -1).sum())
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{count} prompts: {found} near-duplicates, {seconds:.1f} s of CPU, peak {peak:.0f} MB\n")


if __name__ == "__main__":
    main()
