"""The tables of the Deep InfoMax paper, cell by cell, with its own figures beside.

All options on 2,000 images, with a critic that a CPU can afford (a run takes two to six
minutes of a core, and the map of folded crops 24)::

    python docs/benchmarks/reproduce.py --table options --data cifar10_jpeg.npz \
        --n-train 2000 --n-test 2000 --epochs 10 --critic-units 256 \
        --learning-rate 1e-3 --seeds 0 1 2

and table 1 as far as eight minutes of a GPU go::

    python docs/benchmarks/reproduce.py --table 1 --data cifar10_jpeg.npz \
        --device cuda --epochs 300 --batch-size 512 --learning-rate 8e-4 \
        --budget-minutes 8

Each finished run is a line of ``--out``, and is not repeated: the same command goes on
where the last one stopped, and prints the table. What is not run is called so. A new
run is only begun while its expected end is within the budget.

``--data`` is a file or "openml", which fetches CIFAR-10. A file holds ``X_train``,
``y_train``, ``X_test`` and ``y_test`` with images as uint8, and for table 2 may hold
``X_unlabelled``; or JPEG files, as data_sets.py reads them.

Every choice is made on the training part: the epoch at which the probe of 200 units
stops, on a tenth of it; the strength of the linear ones, by cross-validation. The paper
tuned its probes on the test part and averaged over the last 100 epochs.
"""

import argparse
import json
import platform
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from data_sets import load_cifar
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit
from torch import nn

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._devices import choose_device
from sk_dim.critics import ConcatCritic
from sk_dim.encoders import (
    AlexNetEncoder,
    BottleneckEncoder,
    ConvEncoder,
    FoldedEncoder,
)
from sk_dim.evaluation import (
    encoded_information,
    linear_probe,
    neural_dependency_measure,
    reconstruct,
)
from sk_dim.recipes import DIM_GLOBAL, DIM_LOCAL, DIM_LOCAL_GLOBAL

RESULTS = Path(__file__).parent / "results" / "reproduce.jsonl"
LAYERS = ("conv", "hidden", "global")
COORDINATES = {"tasks": ("coordinates", "relative_coordinates")}
OCCLUDED = {"augment": "occlude"}
LEAST_RATE = 1e-9  # below it, nothing is trained
UNTRAINED = DIM_LOCAL | {"learning_rate": 1e-12, "max_iter": 1}

# What the paper has of a row: conv, fc, Y, and more in tables 2 and 3. Tables 1 to 3 of
# the version on OpenReview, whose table 3 is called 4 in later ones.
TABLES = {
    "1": {
        "what": "classification of CIFAR-10 by one hidden layer of 200 units",
        "columns": LAYERS,
        "rows": {
            "untrained": (UNTRAINED, None),
            "DIM(G)": (DIM_GLOBAL, (0.522, 0.5284, 0.4317)),
            "DIM(L) DV": (DIM_LOCAL | {"bound": "donsker_varadhan"}, None),
            "DIM(L) JSD": (DIM_LOCAL | {"bound": "jsd"}, (0.7325, 0.7362, 0.6696)),
            "DIM(L) infoNCE": (DIM_LOCAL, (0.7521, 0.7557, 0.6913)),
        },
    },
    "2": {
        "what": "classification of STL-10; by fine-tuning in the last column",
        "columns": (*LAYERS, "fine-tuned"),
        "rows": {
            "DIM(G)": (
                DIM_GLOBAL | {"encoder": "alexnet"},
                (0.4203, 0.3082, 0.2809, 0.5136),
            ),
            "DIM(L) JSD": (
                DIM_LOCAL | {"encoder": "alexnet", "bound": "jsd"},
                (0.7286, 0.7085, 0.6593, 0.7696),
            ),
            "DIM(L) infoNCE": (
                DIM_LOCAL | {"encoder": "alexnet"},
                (0.7257, 0.70, 0.6708, 0.7681),
            ),
        },
    },
    "3": {
        "what": "linear support vector machines, and numbers without labels, in nats",
        "columns": (*LAYERS, "MS-SSIM", "I(X, Y)", "NDM"),
        "rows": {
            "DIM(G)": (DIM_GLOBAL, (0.468, 0.2879, 0.2908, 0.49, 49.63, 9.96)),
            "DIM(L+G)": (
                DIM_LOCAL_GLOBAL,
                (0.5755, 0.4556, 0.1863, 0.53, 101.65, 22.89),
            ),
            "DIM(L)": (DIM_LOCAL, (0.6325, 0.5406, 0.4962, 0.37, 45.09, 9.18)),
        },
    },
    "4": {
        "what": "structure beside infoNCE, CIFAR-10, one hidden layer of 200 units",
        "columns": LAYERS,
        "rows": {
            "DIM(L)": (DIM_LOCAL, (0.7746, 0.7333, 0.7065)),
            "+ coordinates": (DIM_LOCAL | COORDINATES, (0.7728, 0.7389, 0.7156)),
            "+ occlusion": (DIM_LOCAL | OCCLUDED, (0.7677, 0.7445, 0.7287)),
            "+ both": (DIM_LOCAL | COORDINATES | OCCLUDED, (0.7727, 0.7515, 0.7399)),
        },
    },
}
VIEWS = DIM_LOCAL | {"augment": "natural"}
SMALL_ALEXNET = partial(AlexNetEncoder, n_channels=32, n_hidden=1024)
SMALL_BOTTLENECK = partial(BottleneckEncoder, n_channels=16)
OPTIONS = {
    "untrained": UNTRAINED,
    "DIM(G)": DIM_GLOBAL,
    "DIM(L)": DIM_LOCAL,
    "DIM(L+G)": DIM_LOCAL_GLOBAL,
    "DIM(L), jsd": DIM_LOCAL | {"bound": "jsd"},
    "DIM(L), donsker_varadhan": DIM_LOCAL | {"bound": "donsker_varadhan"},
    "DIM(L), kl": DIM_LOCAL | {"bound": "kl"},
    "DIM(L), reverse_kl": DIM_LOCAL | {"bound": "reverse_kl"},
    "DIM(L), hellinger": DIM_LOCAL | {"bound": "hellinger"},
    "DIM(L), chi_squared": DIM_LOCAL | {"bound": "chi_squared"},
    "DIM(L), jsd, concat": DIM_LOCAL
    | {"bound": "jsd", "critic": partial(ConcatCritic, n_locations=16)},
    "coordinates": DIM_LOCAL | {"tasks": "coordinates"},
    "relative_coordinates": DIM_LOCAL | {"tasks": "relative_coordinates"},
    "both coordinates": DIM_LOCAL | COORDINATES,
    "occlude": DIM_LOCAL | OCCLUDED,
    "both coordinates, occlude": DIM_LOCAL | COORDINATES | OCCLUDED,
    "prior normal": DIM_LOCAL | {"prior": "normal"},
    "prior noise": DIM_LOCAL | {"prior": "noise"},
    "no prior": DIM_LOCAL | {"prior_weight": 0.0},
    "global_map": DIM_LOCAL
    | {"encoder": partial(ConvEncoder, global_map=True), "prior_weight": 0.0},
    "folded": DIM_LOCAL | {"encoder": "folded"},
    "folded, global_map": DIM_LOCAL
    | {"encoder": partial(FoldedEncoder, global_map=True), "prior_weight": 0.0},
    "alexnet of 32 channels": DIM_LOCAL | {"encoder": SMALL_ALEXNET},
    "alexnet, untrained": UNTRAINED | {"encoder": SMALL_ALEXNET},
    "bottleneck of 16 channels": DIM_LOCAL | {"encoder": SMALL_BOTTLENECK},
    "bottleneck, untrained": UNTRAINED | {"encoder": SMALL_BOTTLENECK},
    "folded, untrained": UNTRAINED | {"encoder": "folded"},
    "two views": VIEWS,
    "two views, multiscale": VIEWS | {"tasks": "multiscale"},
    "two views, both coordinates": VIEWS | COORDINATES,
    "two views, occlude": VIEWS | {"augment": ("natural", "occlude")},
}
TABLES["options"] = {
    "what": "each option of the method, logistic regression on all labels",
    "columns": LAYERS,
    "rows": {name: (params, None) for name, params in OPTIONS.items()},
}


def read_data(args):
    """Return training images and labels, test images and labels, unlabelled images."""
    n_train, n_test = args.n_train or 50_000, args.n_test or 10_000
    if args.data != "openml":
        with np.load(args.data) as data:
            if "X_train" in data:
                unlabelled = data.get("X_unlabelled")
                return (
                    data["X_train"][:n_train],
                    data["y_train"][:n_train],
                    data["X_test"][:n_test],
                    data["y_test"][:n_test],
                    unlabelled,
                )
    path = None if args.data == "openml" else args.data
    X, X_test, y, y_test = load_cifar(path, n_train, n_test)
    return X, y, X_test, y_test, None


class HiddenLayer(nn.Sequential):
    """The paper's probe: one hidden layer of 200 units, with dropout."""

    def __init__(self, n_in, n_classes):
        super().__init__(
            nn.Linear(n_in, 200, bias=False),
            nn.BatchNorm1d(200),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(200, n_classes),
        )


def mlp_score(Z, y, Z_test, y_test, device, seed):
    """Accuracy of the paper's probe, stopped by a tenth of the training rows."""
    torch.manual_seed(seed)
    net = NeuralNetClassifier(
        HiddenLayer,
        module__n_in=Z.shape[1],
        module__n_classes=len(np.unique(y)),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=1e-3,
        batch_size=min(512, max(32, len(Z) // 50)),
        max_epochs=60,
        train_split=ValidSplit(0.1, stratified=True, random_state=seed),
        callbacks=[EarlyStopping("valid_acc", patience=8, lower_is_better=False)],
        iterator_train__shuffle=True,
        iterator_train__drop_last=True,
        device=device,
        verbose=0,
    )
    net.set_params(callbacks__EarlyStopping__load_best=True)
    net.set_params(callbacks__EarlyStopping__sink=lambda text: None)
    model = make_pipeline(StandardScaler(), net)
    classes, codes = np.unique(y, return_inverse=True)
    model.fit(Z.astype(np.float32), codes.astype(np.int64))
    return float(np.mean(classes[model.predict(Z_test.astype(np.float32))] == y_test))


def flat_layers(dim, X):
    return {name: each.reshape(len(X), -1) for name, each in dim.features(X).items()}


def measure(table, dim, data, args, seed):
    """Return what a row has in each of the columns of its table."""
    X, y, X_test, y_test, _ = data
    Z, Z_test = flat_layers(dim, X), flat_layers(dim, X_test)
    found = {}
    for layer in LAYERS:
        if table in ("3", "options"):
            kind = "svm" if table == "3" else "linear"
            test = {"X_test": Z_test[layer], "y_test": y_test}
            (score,) = linear_probe(None, Z[layer], y, kind=kind, **test).values()
            found[layer] = float(score[0])
        else:
            parts = Z[layer], y, Z_test[layer], y_test
            found[layer] = mlp_score(*parts, args.device, seed)
    if table == "2":
        limit = {"max_time": args.fine_tuning_seconds, "random_state": seed}
        tuned = DeepInfomaxClassifier(dim, **limit).fit(X, y)
        found["fine-tuned"] = float(tuned.score(X_test, y_test))
    if table == "3":
        found["MS-SSIM"] = reconstruct(
            dim, X, X_test=X_test, device=args.device, random_state=seed
        ).ms_ssim
        given = {"bound": "donsker_varadhan", "random_state": seed}
        found["I(X, Y)"] = float(encoded_information(dim, X_test, **given))
        found["NDM"] = float(neural_dependency_measure(Z_test["global"], **given))
    return found


def run(table, name, seed, data, args):
    """Train and measure a row with one seed."""
    params, _ = TABLES[table]["rows"][name]
    given = {"batch_size": args.batch_size, "learning_rate": args.learning_rate}
    if params["learning_rate"] < LEAST_RATE:
        given["learning_rate"] = None
    params = {"max_iter": args.epochs} | params
    params |= {name: value for name, value in given.items() if value}
    if args.critic_units and isinstance(params["critic"], partial):
        params["critic"] = partial(params["critic"], n_units=args.critic_units)
    dim = DeepInfomaxTransformer(**params, device=args.device, random_state=seed)
    unlabelled = data[4]
    start = time.monotonic()
    dim.fit(data[0] if unlabelled is None else unlabelled)
    seconds = time.monotonic() - start
    return {
        "table": table,
        "row": name,
        "seed": seed,
        "settings": key_of(args),
        "values": measure(table, dim, data, args, seed),
        "fit_seconds": seconds,
        "seconds": time.monotonic() - start,
        "loss": dim.history_[-1]["loss"],
        "device": device_name(args.device),
        "torch": torch.__version__,
    }


def key_of(args):
    """Return what must be equal for two runs to be of one table."""
    return {
        "data": Path(args.data).name,
        "n_train": args.n_train,
        "n_test": args.n_test,
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "critic_units": args.critic_units,
        "fine_tuning_seconds": args.fine_tuning_seconds,
    }


def device_name(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def print_table(table, records, args):
    """Print means over the seeds, with their standard deviation, and the paper's."""
    columns, rows = TABLES[table]["columns"], TABLES[table]["rows"]
    print(f"\nTable {table}: {TABLES[table]['what']}\n")
    has_paper = any(paper for _, paper in rows.values())
    header = ["", *columns, "seconds", "seeds"]
    header += [f"{column}, paper" for column in columns] if has_paper else []
    lines = [header, ["---"] * len(header)]
    for name, (_, paper) in rows.items():
        of_row = [r for r in records if r["row"] == name]
        cells = []
        for column in columns:
            values = [r["values"][column] for r in of_row if column in r["values"]]
            cells.append(spread(values))
        seconds = [r["fit_seconds"] for r in of_row]
        cells += [f"{np.median(seconds):.0f}" if seconds else "", str(len(of_row))]
        if has_paper:
            cells += [f"{v:g}" for v in paper] if paper else [""] * len(columns)
        lines.append([name, *cells])
    print("\n".join("| " + " | ".join(line) + " |" for line in lines))
    for device in sorted({r["device"] for r in records}):
        print(f"\n{device}, {args.epochs} epochs, {args.n_train or 'all'} images")


def spread(values):
    if not values:
        return "not run"
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean}±{np.std(values, ddof=1):.3f}"


def finished(path, table, args):
    """Read the runs of a table that are done with these settings."""
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [r for r in records if r["table"] == table and r["settings"] == key_of(args)]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=TABLES, required=True)
    parser.add_argument("--data", required=True, help="a file, or openml")
    parser.add_argument("--only", nargs="*", help="rows of the table")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, help="the paper's is 64")
    parser.add_argument("--learning-rate", type=float, help="the paper's is 1e-4")
    parser.add_argument("--critic-units", type=int, help="the paper's are 2,048")
    parser.add_argument("--n-train", type=int)
    parser.add_argument("--n-test", type=int)
    parser.add_argument("--fine-tuning-seconds", type=float, help="in table 2")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--budget-minutes", type=float, default=np.inf)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="print, and run nothing")
    args = parser.parse_args()
    args.device = choose_device(args.device)
    unknown = set(args.only or ()) - TABLES[args.table]["rows"].keys()
    if unknown:
        parser.error(f"no such rows: {unknown}; known: {[*TABLES[args.table]['rows']]}")
    return args


def main():
    args = parse()
    start = time.monotonic()
    records = finished(args.out, args.table, args)
    data = None if args.report else read_data(args)
    done = {(r["row"], r["seed"]) for r in records}
    longest = max((r["seconds"] for r in records), default=0.0)
    for seed in args.seeds if data is not None else ():
        for name in args.only or TABLES[args.table]["rows"]:
            spent = time.monotonic() - start
            if (name, seed) in done or spent + longest > 60 * args.budget_minutes:
                continue
            record = run(args.table, name, seed, data, args)
            longest = max(longest, record["seconds"])
            records.append(record)
            with args.out.open("a") as file:
                file.write(json.dumps(record) + "\n")
            values = {k: round(v, 3) for k, v in record["values"].items()}
            print(name, seed, values, f"{record['seconds']:.0f} s", flush=True)
    print_table(args.table, records, args)


if __name__ == "__main__":
    main()
