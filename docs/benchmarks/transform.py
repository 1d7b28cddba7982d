"""Throughput of `transform` over that of a bare call of the encoder.

Both scale the same array and encode it in the same batches, in turns within one run;
the bare call knows where everything is and checks nothing::

    python docs/benchmarks/transform.py
"""

import argparse
import platform
import statistics
import time

import numpy as np
import torch

from sk_dim import DeepInfomaxTransformer
from sk_dim._training._model import ENCODED_AT_ONCE


def bare(dim, X):
    """Encode X, channels first, with nothing around it."""
    mean, std = dim.model_.scaling.mean.float(), dim.model_.scaling.std.float()
    encoder = dim.encoder_.eval()
    with torch.inference_mode():
        return torch.cat(
            [
                encoder((batch.float() - mean) / std).global_
                for batch in torch.from_numpy(X).split(ENCODED_AT_ONCE)
            ]
        ).numpy()


def measure(name, X, n_rounds):
    dim = DeepInfomaxTransformer(max_iter=1, device="cpu", random_state=0).fit(X[:500])
    np.testing.assert_allclose(dim.transform(X[:600]), bare(dim, X[:600]), atol=1e-3)
    ratios = []
    for _ in range(n_rounds):
        start = time.perf_counter()
        dim.transform(X)
        middle = time.perf_counter()
        bare(dim, X)
        ratios.append((time.perf_counter() - middle) / (middle - start))
        rate = len(X) / (middle - start)
    print(
        f"{name:30} ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}), {rate:,.0f} samples/s",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; throughput of transform over that of a bare call"
    )
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (10_000, 3, 32, 32), dtype=np.uint8)
    measure("10,000 images 3x32x32, uint8", colour, args.rounds)
    digits = rng.random((20_000, 1, 8, 8), dtype=np.float32)
    measure("20,000 images 1x8x8", digits, args.rounds)
    rows = rng.random((100_000, 50), dtype=np.float32)
    measure("100,000 rows of 50", rows, args.rounds)


if __name__ == "__main__":
    main()
