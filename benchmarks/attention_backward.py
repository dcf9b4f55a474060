"""Measure attention's passes on a CPU in float32 and bfloat16: python benchmarks/attention_backward.py

The sizes are those of the embedded model's training: 32 images, 4 heads, 64 tokens, 24 values a head. One thread; CPU
milliseconds, medians and ranges of interleaved repeats.
"""

import statistics
import sys
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

REPEATS, SHAPE = 50, (32, 4, 64, 24)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    found: dict[tuple[str, torch.dtype], list[float]] = {}
    for repeat in range(REPEATS + 1):
        for dtype in (torch.float32, torch.bfloat16):
            given = [torch.randn(SHAPE).to(dtype).requires_grad_() for _ in range(3)]
            times = [time.process_time()]
            result = scaled_dot_product_attention(*given)
            times.append(time.process_time())
            result.backward(torch.ones_like(result))
            times.append(time.process_time())
            for name, start, end in zip(("forward", "backward"), times, times[1:], strict=False):
                if repeat:  # the first warms up
                    found.setdefault((name, dtype), []).append((end - start) * 1e3)
    sys.stdout.write("| pass | dtype | CPU ms, median | range |\n| --- | --- | --- | --- |\n")
    for (name, dtype), each in found.items():
        kind, middle = str(dtype).removeprefix("torch."), statistics.median(each)
        sys.stdout.write(f"| {name} | {kind} | {middle:.2f} | {min(each):.2f} to {max(each):.2f} |\n")


if __name__ == "__main__":
    main()
