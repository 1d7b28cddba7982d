"""Speed and memory of reading photos from files, alone and in training.

Files are JPEG of 500x375 pixels, half of them upright. They are made first, from smooth
random fields with fine noise, so that a file has about as many bytes as a photo of that
size. They become 160x160 pixels. Each row of the tables runs in a process of its own.
Reading is in random order, 128 images at a time, from files that the system has in
memory already. An epoch of training is the second, with the default encoder, and with
a small one, which leaves more of the time to the reading::

    python docs/benchmarks/reading.py
    python docs/benchmarks/reading.py --n 1000

Memory is the most that a process holds beside what it held before, without pages of
mapped files, which the system takes back when it needs them. "decoding" is Pillow
alone: it opens each file, decodes it at a reduced scale and resizes it, in so many
threads.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from scale import Peak

SIZE = 160
BATCH = 128
READERS = ("memory map", "cached", "filling the cache", "uncached")


def make(folder, n):
    """Write so many files."""
    from PIL import Image

    rng = np.random.default_rng(0)
    fields = [
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            (900, 700), Image.Resampling.BICUBIC
        )
        for _ in range(20)
    ]
    noise = rng.normal(0, 12, (375 * 2, 500 * 2, 3))

    def write(i):
        own = np.random.default_rng(i)
        top, left = own.integers(0, 325), own.integers(0, 400)
        pixels = np.asarray(fields[i % 20])[top : top + 375, left : left + 500]
        y, x = own.integers(0, 375), own.integers(0, 500)
        pixels = (pixels + noise[y : y + 375, x : x + 500]).clip(0, 255)
        image = Image.fromarray(pixels.astype(np.uint8))
        image = image.transpose(Image.Transpose.ROTATE_90) if i % 2 else image
        image.save(f"{folder}/{i:06}.jpg", quality=85)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(n)))


def decode(path):
    """Decode an image as one would without sk_dim, by Pillow."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        image.draft("RGB", (SIZE, SIZE))
        return np.asarray(ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BILINEAR))


def decoding(folder, n_threads):
    """Images a second of Pillow alone."""
    from sk_dim import list_images

    paths = list_images(f"{folder}/photos")[:4000]
    start = time.perf_counter()
    with ThreadPoolExecutor(n_threads) as threads:
        for _ in threads.map(decode, paths):
            pass
    return {"images_s": len(paths) / (time.perf_counter() - start)}


def open_images(folder, reader, n_threads):
    """Return an array of all images."""
    from sk_dim import ImageLoader, list_images

    if reader == "memory map":
        return np.load(f"{folder}/images.npy", mmap_mode="r")
    cache = None if reader == "uncached" else f"{folder}/cache"
    if reader == "filling the cache":
        cache = tempfile.mkdtemp(dir=folder)
    loader = ImageLoader(SIZE, cache=cache, n_threads=n_threads)
    return loader.transform(list_images(f"{folder}/photos"))


def reading(folder, reader, n_threads):
    """Images a second, and memory, of reading batches at random."""
    from sk_dim.arrays import read

    X = open_images(folder, reader, n_threads)
    order = np.random.default_rng(0).permutation(len(X))
    if reader in ("memory map", "cached"):  # the second time, as in a later epoch
        for start in range(0, len(X), BATCH):
            read(X, order[start : start + BATCH])
    with Peak() as peak:
        start = time.perf_counter()
        for first in range(0, len(X), BATCH):
            read(X, order[first : first + BATCH])
        seconds = time.perf_counter() - start
    return {"images_s": len(X) / seconds, "mb": peak.above}


def copy(folder, n_threads):
    """Write all decoded images into one array, and fill the cache."""
    X = open_images(folder, "cached", n_threads)
    shape = X.shape
    out = np.lib.format.open_memmap(f"{folder}/images.npy", "w+", "uint8", shape)
    for start in range(0, len(X), 1000):
        out[start : start + 1000] = X[start : start + 1000]
    return {}


def training(folder, reader, n_threads, net):
    """Seconds of an epoch, and memory."""
    from sk_dim import DeepInfomaxTransformer
    from sk_dim.critics import DotCritic
    from sk_dim.encoders import ConvEncoder

    params = {"batch_size": BATCH, "random_state": 0}
    if net == "small":
        params |= {
            "encoder": partial(ConvEncoder, n_channels=4, n_hidden=16),
            "critic": partial(DotCritic, n_units=16, n_locations=2),
            "n_components": 16,
            "augment": None,
        }
    X = open_images(folder, reader, n_threads)
    DeepInfomaxTransformer(max_iter=1, **params).fit(np.asarray(X[:256]))
    with Peak() as peak:
        dim = DeepInfomaxTransformer(max_iter=2, **params).fit(X)
    seconds = dim.history_[-1]["seconds"]
    return {"images_s": len(X) / seconds, "mb": peak.above}


def measure(folder, threads, *case):
    """Run one case in a process of its own, with so many threads of PyTorch."""
    command = [sys.executable, __file__, "--one", str(folder), *case]
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    return json.loads(done.stdout)


def run_one(folder, what, *case):
    """Print what a case gives, as JSON."""
    cases = {"decoding": decoding, "reading": reading, "copy": copy}
    if what == "training":
        reader, n_threads, net = case
        print(json.dumps(training(folder, reader, int(n_threads), net)))
        return
    *names, n_threads = case
    print(json.dumps(cases[what](folder, *names, int(n_threads))))


def cells(found):
    return f"{found['images_s']:,.0f} | {found['mb']:.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20_000, help="files")
    parser.add_argument("--folder", help="for the files, where there are 5 GB of room")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--nets", nargs="+", default=["small", "default"])
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        run_one(*args.one)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        Path(folder, "photos").mkdir()
        make(f"{folder}/photos", args.n)
        sizes = [path.stat().st_size for path in Path(folder, "photos").iterdir()]
        most = max(args.threads)
        measure(folder, most, "copy", str(most))
        print(f"{args.n:,} files of {np.mean(sizes) / 1000:.0f} kB\n")
        print("| reading | threads | images/s | MB |\n|---|---|---|---|", flush=True)
        for n in args.threads:
            found = measure(folder, n, "decoding", str(n))
            print(f"| decoding | {n} | {found['images_s']:,.0f} | |", flush=True)
        for reader in READERS:
            for n in args.threads:
                found = measure(folder, n, "reading", reader, str(n))
                print(f"| {reader} | {n} | {cells(found)} |", flush=True)
        print("\n| net | images from | images/s | MB |\n|---|---|---|---|", flush=True)
        for net in args.nets:
            for reader in ("memory map", "cached", "uncached"):
                found = measure(folder, most, "training", reader, str(most), net)
                print(f"| {net} | {reader} | {cells(found)} |", flush=True)


if __name__ == "__main__":
    main()
