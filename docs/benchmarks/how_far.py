"""How far it goes: a cost model of training, from measured figures and assumptions.

A step takes the time of its launches or of the encoder's arithmetic, whichever is
longer, then that of the objective, then that of the messages, which do not overlap.
Reading goes on beside it. One device reads in order, as shards and chunked arrays are
read; several read rows at random from a memory map, which is in the memory of each
machine or makes them wait for the disk at each row::

    python docs/benchmarks/how_far.py
    python docs/benchmarks/how_far.py --disk 0.5 --network 12.5 --launches 2

Arguments are the assumptions; ``docs/guide/how_far.md`` says which were measured.
``--decode FILE`` measures how long this machine takes to decode a JPEG instead.
"""

import argparse
import time
from dataclasses import dataclass

GPUS_A_MACHINE = 8
LOCATIONS, UNITS, HEAD = 8, 128, 128  # of a sample: what critics compare
BATCHES = (512, 2_048, 16_384, 65_536)
MOST_ROWS_EACH = 4_096  # of a batch on a device: more was never run


@dataclass(frozen=True)
class Data:
    """Samples, and what the default net does with them."""

    name: str
    rows: int
    sample_bytes: int  # as they are stored
    weights: float  # bytes of the gradients, by `ranks.py --model`
    gflop: float  # of the encoder for 128 rows, two views, by `ranks.py --model`


KINDS = (
    Data("photos, 32x32", 10**8, 3 * 32**2, 5.3e6, 4.2),
    Data("photos, 128x128", 10**8, 3 * 128**2, 7.9e6, 27.3),
    Data("table", 10**9, 4 * 30, 9.9e6, 3.7),
)
MEASURED_GFLOP = 4.2  # of the photos of 32x32, whose seconds were measured


def step(data, batch, n_devices, args):
    """Seconds of a step: of the encoder, the objective, messages and reading."""
    rows = batch / n_devices
    per_row = args.row * 1e-6 * data.gflop / MEASURED_GFLOP
    encoder = max(args.launches * 1e-3, rows * per_row)
    # Products of own rows with all locations, forward and twice backward, of two views.
    flop = 2 * 6 * rows * batch * LOCATIONS * UNITS
    objective = flop / (args.tflops * 1e12)
    own = 8 * (LOCATIONS * UNITS + HEAD) * rows
    ring = 2 * (n_devices - 1) / n_devices
    sent = data.weights * ring + own * (n_devices - 1) + own * n_devices * ring
    speed = args.link if n_devices <= GPUS_A_MACHINE else args.network
    machines = -(-n_devices // GPUS_A_MACHINE)
    reading = batch * data.sample_bytes / (args.disk * 1e9 * machines)
    if n_devices > 1:
        is_in_memory = data.rows * data.sample_bytes <= args.memory * 1e9
        reading = 0.0 if is_in_memory else max(reading, rows * args.wait * 1e-3)
    messages = sent / (speed * 1e9) if n_devices > 1 else 0.0
    return encoder, objective, messages, reading


def limit(encoder, objective, messages, reading, args):
    """Name what takes longest."""
    if reading > encoder + objective + messages:
        return "reading"
    names = {"encoder": encoder, "objective": objective, "network": messages}
    longest = max(names, key=names.get)
    is_floor = longest == "encoder" and encoder == args.launches * 1e-3
    return "launches" if is_floor else longest


def table(args):
    print("10^8 photos, 10^9 rows of 30 columns; ms of a step, hours of an epoch\n")
    print(
        "| | GPUs | batch | encoder | objective | network | reading | rows/s | hours "
        "| limit |\n" + "|---" * 10 + "|"
    )
    for data in KINDS:
        for n_devices in (1, 8, 64):
            best = max(
                (b for b in BATCHES if 1 < b / n_devices <= MOST_ROWS_EACH),
                key=lambda b: rate(b, step(data, b, n_devices, args)),
            )
            parts = step(data, best, n_devices, args)
            rows = rate(best, parts)
            cells = " | ".join(f"{1e3 * part:.1f}" for part in parts)
            print(
                f"| {data.name} | {n_devices} | {best:,} | {cells} | "
                f"{rows:,.0f} | {data.rows / rows / 3600:.2f} | "
                f"{limit(*parts, args)} |"
            )


def rate(batch, parts):
    """Rows a second where reading goes on beside the rest."""
    *others, reading = parts
    return batch / max(sum(others), reading)


def decode(path, n_times=50):
    """Milliseconds to decode a JPEG at the reduced scale next to 128 pixels."""
    from PIL import Image

    taken = []
    for _ in range(n_times):
        start = time.process_time()
        with Image.open(path) as image:
            size = image.size
            image.draft("RGB", (128, 128))
            image.resize((128, 128))
        taken.append(time.process_time() - start)
    print(
        f"{size[0]}x{size[1]}: {1e3 * sorted(taken)[n_times // 2]:.1f} ms of one core"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--launches", type=float, default=13.0, help="ms of a step at least, measured"
    )
    parser.add_argument(
        "--row", type=float, default=5.7, help="us a photo of 32x32 at most, measured"
    )
    parser.add_argument("--tflops", type=float, default=30, help="of the objective")
    parser.add_argument("--link", type=float, default=300, help="GB/s in a machine")
    parser.add_argument("--network", type=float, default=25, help="GB/s of each GPU")
    parser.add_argument("--disk", type=float, default=3, help="GB/s of each machine")
    parser.add_argument("--memory", type=float, default=1000, help="GB of each machine")
    parser.add_argument("--wait", type=float, default=0.1, help="ms for a row on disk")
    parser.add_argument("--decode", metavar="FILE", help="a JPEG; only measure it")
    args = parser.parse_args()
    if args.decode:
        decode(args.decode)
    else:
        table(args)


if __name__ == "__main__":
    main()
