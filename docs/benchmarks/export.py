"""Throughput of ONNX beside `transform`, and sizes of files beside the weights.

Both encode the same rows on the CPU with as many threads, in turns, ONNX in calls of so
many rows. It needs the extra ``export``::

    python docs/benchmarks/export.py
"""

import argparse
import io
import platform
import statistics
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import onnxruntime
import skops.io
import torch

from sk_dim import DeepInfomaxTransformer
from sk_dim.export import save_encoder, to_onnx

ROWS_A_CALL = 256


def megabytes(dim, path):
    """Return sizes in MB: weights of the encoder, and files of each format."""
    weights = sum(
        v.numel() * v.element_size() for v in dim.encoder_.state_dict().values()
    )
    pickled = io.BytesIO()
    joblib.dump(dim, pickled)
    save_encoder(dim, path.with_suffix(".safetensors"))
    return [
        n_bytes / 1e6
        for n_bytes in (
            weights,
            path.with_suffix(".safetensors").stat().st_size,
            path.stat().st_size,
            len(pickled.getvalue()),
            len(skops.io.dumps(dim)),
        )
    ]


def measure(name, X, n_rounds, folder, **params):
    """Print a row of the table."""
    dim = DeepInfomaxTransformer(max_iter=1, device="cpu", random_state=0, **params)
    dim.fit(X[:500])
    path = folder / "encoder.onnx"
    start = time.perf_counter()
    to_onnx(dim, path, X[:1])
    seconds = time.perf_counter() - start
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options)
    parts = range(0, len(X), ROWS_A_CALL)

    def run():
        return np.concatenate(
            [session.run(None, {"X": X[i : i + ROWS_A_CALL]})[0] for i in parts]
        )

    expected = dim.transform(X)
    errors = np.abs(run() - expected).max(axis=1) / expected.std()
    times = []
    for _ in range(n_rounds):
        start = time.perf_counter()
        dim.transform(X)
        middle = time.perf_counter()
        run()
        times.append((middle - start, time.perf_counter() - middle))
    ours, theirs = (statistics.median(each) for each in zip(*times, strict=True))
    ratios = [first / second for first, second in times]
    sizes = " | ".join(f"{size:.1f}" for size in megabytes(dim, path))
    print(
        f"| {name} | {len(X) / ours:,.0f} | {len(X) / theirs:,.0f} | "
        f"{ours / theirs:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
        f"{np.median(errors):.0e} | {seconds:.0f} | {sizes} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--rows", type=int, default=4096, help="of the smallest samples"
    )
    args = parser.parse_args()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, onnxruntime {onnxruntime.__version__}\n"
    )
    columns = (
        "samples | transform, samples/s | ONNX, samples/s | ratio | difference | "
        "seconds to write | weights, MB | safetensors | ONNX | joblib | skops"
    )
    print(f"| {columns} |")
    print("|---" * (columns.count("|") + 1) + "|")
    rng = np.random.default_rng(0)
    n = args.rows
    colour = rng.integers(0, 256, (n // 2, 3, 32, 32), dtype=np.uint8)
    digits = rng.random((n, 1, 8, 8), dtype=np.float32)
    rows = rng.random((n, 50), dtype=np.float32)
    series = rng.normal(size=(n // 8, 1, 150)).cumsum(axis=2).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure('"patch", 3x32x32, uint8', colour, args.rounds, folder)
        measure('"conv", 3x32x32, uint8', colour, args.rounds, folder, encoder="conv")
        measure('"conv", 1x8x8', digits, args.rounds, folder)
        measure('"mlp", 50 columns', rows, args.rounds, folder)
        measure(
            '"series", 150 values', series, args.rounds, folder, input_type="series"
        )


if __name__ == "__main__":
    main()
