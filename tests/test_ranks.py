"""Training by several processes. Most tests are slow: a process takes seconds to start.

The fits that are compared are in `ranks_jobs.py`.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import torch
from ranks_jobs import (
    DRAWS,
    DRAWS_NOTHING,
    IMAGES,
    JOBS,
    OTHERS,
    TABLE,
    Kill,
    fit,
    kill,
    make,
    mirror,
    result,
)
from skorch.callbacks import Callback
from torch import nn

from sk_dim import DeepInfomaxTransformer, critics
from sk_dim._inputs._batches import SliceLoader
from sk_dim._training import (
    _checkpoint_files,
    _checkpoints,
    _group,
    _interrupts,
    _launch,
)
from sk_dim._training._callbacks import of_rank
from sk_dim._training._group import count_devices
from sk_dim._training._launch import _stored, loaded
from sk_dim._training._norms import synchronised
from sk_dim._training._ranks import Ranks, check_shares
from sk_dim.bounds import infonce
from sk_dim.critics import DotCritic
from sk_dim.encoders import ConvEncoder, Features
from sk_dim.objective import Objective

HERE = Path(__file__).parent
ON_CPUS = {"device": "cpu", "precision": "float32", "random_state": 0}


@pytest.fixture
def _four_cores(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)


# What is refused


@pytest.mark.parametrize(
    ("n_devices", "error", "message"),
    [
        (0, ValueError, r"n_devices=0; it must be at least 1\."),
        (True, TypeError, "n_devices=True must be an integer"),
        (1.5, TypeError, "n_devices=1.5 must be an integer"),
        ("both", ValueError, "n_devices='both' is not known; expected 'all'"),
        (5, ValueError, "n_devices=5, but this machine has 4 CPU cores; use"),
    ],
)
@pytest.mark.usefixtures("_four_cores")
def test_bad_numbers_of_devices_are_refused(n_devices, error, message):
    dim = DeepInfomaxTransformer(n_devices=n_devices, device="cpu")
    with pytest.raises(error, match=message):
        dim.fit(IMAGES)
    assert not hasattr(dim, "model_")


@pytest.mark.usefixtures("_four_cores")
def test_all_are_the_devices_there_are():
    assert count_devices("all", "cpu") == count_devices("all", "auto") == 4
    assert count_devices(1, "cuda:7") == 1
    with pytest.raises(ValueError, match=r"device='cuda:0' is one device, but n_dev"):
        count_devices(2, "cuda:0")
    with pytest.raises(ValueError, match="this machine has 0 CUDA devices"):
        count_devices(2, "cuda")
    with pytest.raises(ValueError, match="this machine has 1 mps device"):
        count_devices(2, "mps")


@pytest.mark.usefixtures("_four_cores")
def test_parallel_workers_start_no_processes(monkeypatch):
    def count(n_jobs):
        tasks = [joblib.delayed(count_devices)(2, "cpu") for _ in range(2)]
        return joblib.Parallel(n_jobs, backend="threading")(tasks)

    assert count(n_jobs=1) == [2, 2]
    with pytest.raises(ValueError, match="one of several that run in parallel"):
        count(n_jobs=2)
    daemon = SimpleNamespace(daemon=True)
    monkeypatch.setattr(_group.multiprocessing, "current_process", lambda: daemon)
    with pytest.raises(ValueError, match="in a daemonic process"):
        count_devices(2, "cpu")


class Locked:
    """A view that cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, batch, generator):
        return batch + 1


class Compiled(ConvEncoder):
    """An encoder that says it is compiled, which would take seconds."""

    def __init__(self, *args):
        super().__init__(*args)
        self.compile_mode = "default"


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"encoder": Compiled}, ValueError, "the encoder is compiled"),
        ({"augment": Locked()}, TypeError, "one of them cannot be pickled"),
    ],
    ids=["compiled", "locked"],
)
@pytest.mark.usefixtures("_four_cores")
def test_what_other_processes_cannot_do_is_refused(params, error, message):
    dim = DeepInfomaxTransformer(8, n_devices=2, max_iter=1, **ON_CPUS, **params)
    with pytest.raises(error, match=message):
        dim.fit(IMAGES)
    assert not hasattr(dim, "model_")


@pytest.mark.usefixtures("_four_cores")
def test_callbacks_of_scikit_learn_and_chunks_are_refused():
    class Hook:
        def setup(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context, **kwargs): ...
        def on_fit_task_end(self, estimator, context, **kwargs): ...
        def teardown(self, estimator, context): ...

    dim = DeepInfomaxTransformer(8, n_devices=2, max_iter=1, **ON_CPUS)
    with pytest.raises(ValueError, match="partial_fit with n_devices=2 would start"):
        dim.partial_fit(IMAGES)
    dim.set_callbacks(Hook())
    with pytest.raises(ValueError, match="given to set_callbacks are not told"):
        dim.fit(IMAGES)


def test_batches_that_cannot_be_divided_are_refused():
    check_shares(n_rows=40, batch_size=4, n_ranks=4)
    with pytest.raises(ValueError, match="40 rows make batches of 4, which cannot"):
        check_shares(n_rows=40, batch_size=4, n_ranks=5)


# Parts


def ranks_of(size, rank=0):
    """Return ranks that tell one another nothing."""
    ranks = Ranks.__new__(Ranks)
    ranks.rank, ranks.size, ranks.n_rows = rank, size, 0
    ranks.n_bytes = {"features": 0, "statistics": 0, "gradients": 0}
    return ranks


class Numbers:
    """A source whose samples are their own numbers."""

    groups = None
    device = torch.device("cpu")

    def __len__(self):
        return 101

    def take(self, rows):
        return torch.arange(101)[rows]


@pytest.mark.parametrize("is_shuffled", [True, False])
def test_shares_of_the_ranks_make_up_each_batch(is_shuffled):
    def batches(ranks=None):
        generator = torch.Generator().manual_seed(0) if is_shuffled else None
        make = SliceLoader if ranks is None else ranks.loader
        return list(make(Numbers(), 20, generator))

    whole = batches()
    shares = [batches(ranks_of(3, rank)) for rank in range(3)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(batch, torch.cat(parts))
        assert {len(part) - len(batch) // 3 for part in parts} <= {0, 1}


@pytest.mark.parametrize("is_shuffled", [True, False])
def test_ranks_know_the_batch_that_is_trained_on(is_shuffled):
    """Though the next is asked for meanwhile, and is of another size: 20 or 21."""
    generator = torch.Generator().manual_seed(0) if is_shuffled else None
    ranks = ranks_of(2, rank=1)
    sizes = []
    for batch in ranks.loader(Numbers(), 20, generator):
        assert len(batch) == len(range(*ranks.own_rows().indices(ranks.n_rows)))
        sizes.append(ranks.n_rows)
    assert sum(sizes) == len(Numbers())
    assert len(set(sizes)) == 2


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(12, 5), (12, 5, 3, 4)])
def test_norms_over_one_rank_are_those_of_torch(shape, affine, momentum, monkeypatch):
    ranks = ranks_of(1)
    monkeypatch.setattr(ranks, "collect_equal", lambda own, what: [own], raising=False)
    monkeypatch.setattr(ranks, "add_up", lambda own, what: own, raising=False)
    norm_class = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    torch.manual_seed(0)
    batch, target = torch.randn(2, *shape, dtype=torch.float64)
    results = []
    for is_ours in (True, False):
        norm = norm_class(5, affine=affine, momentum=momentum).double()
        inputs = (3 * batch + 100).requires_grad_()
        for _ in range(2):
            if is_ours:
                with synchronised([norm], ranks):
                    output = norm(inputs)
            else:
                output = norm(inputs)
        (output * target).sum().backward()
        grads = [each.grad for each in (inputs, *norm.parameters())]
        norm.eval()
        results.append([output, *grads, *norm.buffers(), norm(inputs)])
        assert "forward" not in vars(norm)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("max_scores", [0, 2**22])
@pytest.mark.parametrize("has_groups", [True, False])
def test_shares_of_the_objective_add_up_to_it(has_groups, max_scores, monkeypatch):
    monkeypatch.setattr(critics, "MAX_SCORES", max_scores)
    monkeypatch.setattr(critics, "BLOCK_SCORES", 100)
    torch.manual_seed(0)
    local, code = torch.randn(7, 6, 9), torch.randn(7, 8, requires_grad=True)
    views = [Features(code, None, None, local)]
    weights = {"local": 1.0, "global": 1.0, "prior": 0.0}
    objective = Objective(views[0], 1, infonce, DotCritic, "normal", weights).eval()
    groups = torch.tensor([0, 1, 2, 1, 0, 3, 3]) if has_groups else None
    whole = objective.loss(objective(views, None, groups))
    (expected,) = torch.autograd.grad(whole, [code])
    assert objective.is_divisible(has_groups)
    values = []
    for rank in range(3):
        ranks = ranks_of(3, rank)
        ranks.n_rows = 7
        own = ranks.own_rows()
        # What the other ranks would tell this one.
        critic = objective.critics["local"]
        told = [critic.embed(local, code)[0]]
        told += [
            objective.critics["global"].embed(local.flatten(1)[..., None], code)[0]
        ]
        ranks.gather = lambda tensors: [groups]
        ranks.gather_work = lambda tensors, told=told: [told.pop(0)]
        ranks.add_work = lambda value: value
        part = [Features(code[own], None, None, local[own])]
        some = None if groups is None else groups[own]
        values.append(objective.loss(objective(part, None, some, ranks)))
    total = torch.stack(values).sum()
    torch.testing.assert_close(total, whole)
    (gradient,) = torch.autograd.grad(total, [code])
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("rows", [slice(None), slice(3, 9), slice(None, None, 2)])
def test_memory_maps_travel_by_their_place(tmp_path, rows):
    np.save(tmp_path / "X.npy", np.arange(60.0).reshape(12, 5))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")[rows]
    stored = _stored(X, tmp_path / "copy")
    assert (tmp_path / "copy").exists() == (not X.flags.c_contiguous)
    back = loaded(pickle.loads(pickle.dumps(stored)))
    assert isinstance(back, np.memmap)
    assert not back.flags.writeable
    np.testing.assert_array_equal(back, X)


def test_arrays_travel_as_files(tmp_path):
    back = loaded(_stored(IMAGES, tmp_path / "copy"))
    assert isinstance(back, np.memmap)
    np.testing.assert_array_equal(back, IMAGES)


def test_only_callbacks_of_gradients_are_on_all_ranks():
    class Clip(Callback):
        def on_grad_computed(self, net, **kwargs): ...

    given = [("clip", Clip()), Callback(), Clip()]
    assert of_rank(given, 0) == given
    assert of_rank(given, 1) == [given[0], given[2]]


def test_first_interrupt_of_a_joint_training_is_only_recorded():
    with _interrupts.recorded(is_joint=True):
        _interrupts.take_press()
        _interrupts._last = -np.inf
        signal.raise_signal(signal.SIGINT)
        assert _interrupts.is_pressed()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert _interrupts.take_press()
    _interrupts._last = -np.inf


# Two processes against one


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of the jobs."""
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def results(folder):
    """Results of all jobs in a group of two that torchrun makes, of either rank."""
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    run += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    run += ["--local-addr", "localhost", "--log-dir", str(folder / "logs")]
    subprocess.run([*run, str(HERE / "ranks_jobs.py"), str(folder)], check=True)
    return [pickle.loads((folder / f"rank-{rank}").read_bytes()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_two_processes_are_one(results, name):
    alone, both = fit(name, n_devices=1), results[0][name]
    assert alone["gradients"].keys() == both["gradients"].keys()
    for key, gradient in alone["gradients"].items():
        # But for the rounding of float32 they are equal to 1e-6.
        is_double = gradient.dtype == torch.float64
        torch.testing.assert_close(
            both["gradients"][key],
            gradient,
            atol=1e-7 if is_double else 2e-6,
            rtol=1e-6 if is_double else 1e-5,
            msg=lambda text, key=key: f"{key}: {text}",
        )
    for own, other in zip(alone["history"], both["history"], strict=True):
        for key in set(own) - {"seconds", "samples_per_second", "learning_rate"}:
            np.testing.assert_allclose(other[key], own[key], atol=1e-4, err_msg=key)
    np.testing.assert_allclose(both["features"], alone["features"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*JOBS, *OTHERS])
def test_ranks_hold_the_same_model(results, name):
    first, second = (each[name] for each in results)
    assert first["weights"].keys() == second["weights"].keys()
    for key, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][key]), key
    assert len(first["history"]) == len(second["history"]) > 0
    for own, other in zip(first["history"], second["history"], strict=True):
        assert own["loss"] == other["loss"]


@pytest.mark.slow
def test_a_group_refuses_what_it_cannot_do(results):
    for each in results:
        other_rows, other_size = each["refused"]
        assert "is not the same in all processes of the group" in other_rows
        assert "n_devices=3, but this process belongs to a group of 2" in other_size


# Processes that `fit` starts


def processes(folder):
    """Command lines of the processes that fits with files in this folder started."""
    paths = Path("/proc").glob("[0-9]*/cmdline")
    lines = []
    for path in paths:
        try:
            lines.append(path.read_text())
        except OSError:
            continue
    ours = [line for line in lines if "sk_dim._training._worker" in line]
    return [line for line in ours if str(folder) in line]


@pytest.fixture
def nothing_left(tmp_path, monkeypatch):
    """Check that no handler, file or process of the processes is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    environment = dict(os.environ)
    environment.pop("PYTEST_CURRENT_TEST")
    yield
    assert handlers == [signal.getsignal(each) for each in (2, 15)]
    assert not list(tmp_path.iterdir())
    assert not processes(tmp_path)
    assert environment.items() <= dict(os.environ).items()
    assert len(os.environ) == len(environment) + 1


class Gradient(Callback):
    """Do something on the second rank in the third step."""

    def __init__(self, do):
        self.do = do

    def on_grad_computed(self, net, **kwargs):
        if net.ranks.rank == 1 and net.n_steps == 2:
            self.do()


def refuse():
    raise LookupError("the second rank had enough")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_fit_starts_processes_and_goes_on_from_them(capfd):
    params = {"max_iter": 2, "augment": mirror, "warm_start": True, **ON_CPUS}
    alone = DeepInfomaxTransformer(16, learning_rate=1e-4, **params)
    both = DeepInfomaxTransformer(16, learning_rate=1e-4, verbose=1, **params)
    both.set_params(n_devices=2)
    # From a thread, where the launcher cannot handle signals.
    thread = threading.Thread(target=both.fit, args=(IMAGES,))
    thread.start()
    alone.fit(IMAGES)
    thread.join()
    assert capfd.readouterr().out.count("epoch 1/2") == 1
    for dim in (alone, both):
        dim.fit(IMAGES)
    assert [row["epoch"] for row in both.history_] == [1, 2, 3, 4]
    assert both.net_.n_steps == alone.net_.n_steps
    np.testing.assert_allclose(
        both.transform(IMAGES), alone.transform(IMAGES), atol=1e-4
    )
    both.set_params(n_devices=1).fit(IMAGES)
    assert both.n_iter_ == 6


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (refuse, LookupError, "the second rank had enough"),
        (die, RuntimeError, "process of rank 1 of 2 ended with exit code -9"),
    ],
)
def test_a_rank_that_fails_ends_the_fit(do, error, message):
    dim = DeepInfomaxTransformer(
        8, n_devices=2, max_iter=4, callbacks=[Gradient(do)], **ON_CPUS
    )
    with pytest.raises(error, match=message) as raised:
        dim.fit(IMAGES)
    if error is LookupError:
        assert "process of rank 1 of 2" in raised.value.__notes__[0]
    assert not hasattr(dim, "model_")


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_script_without_a_guard_ends_all_its_processes(tmp_path_factory, ending):
    folder = tmp_path_factory.mktemp("script")
    told = folder / "told"
    text = f"""
import numpy as np
from pathlib import Path
from skorch.callbacks import Callback
from sk_dim import DeepInfomaxTransformer, critics

class Tell(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) > 1:
            Path({str(told)!r}).touch()

X = np.random.default_rng(0).normal(size=(150, 8, 8))
dim = DeepInfomaxTransformer(
    8, n_devices=2, max_iter=10**6, device="cpu", callbacks=[Tell()], random_state=0,
    checkpoint="checkpoint",
    augment=lambda batch, generator: batch.flip(-1), precision="float32",
).fit(X)
print("steps", dim.net_.n_steps, dim.transform(X).shape)
"""
    (folder / "script.py").write_text(text)
    script = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    deadline = time.monotonic() + 120
    while not told.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    script.send_signal(ending)
    out, err = script.communicate(timeout=60)
    if ending == signal.SIGINT:
        assert "(150, 8)" in out
        assert "Ctrl-C ended the training" in err
    while processes(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes(folder)
    state = _checkpoint_files.read(folder / "checkpoint", with_state=True)
    assert state["training"] is not None  # to be gone on with
    assert state["progress"]["history"]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_are_one(digits):
    images, _ = digits
    fits = [
        DeepInfomaxTransformer(
            16,
            n_devices=n_devices,
            device="cuda",
            precision="float32",
            max_iter=2,
            learning_rate=1e-4,
            augment=mirror,
            random_state=0,
        ).fit(images)
        for n_devices in (1, 2)
    ]
    losses = [[row["loss"] for row in dim.history_] for dim in fits]
    np.testing.assert_allclose(*losses, rtol=1e-3)


@pytest.mark.parametrize("is_sharded", [False, True], ids=["chunks", "shards"])
def test_what_is_read_in_blocks_is_refused(is_sharded, monkeypatch):
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    chunked = da.from_array(X, chunks=(10, 3))
    dim = DeepInfomaxTransformer(n_devices=2, max_iter=1)
    with pytest.raises(
        ValueError, match="are read in blocks; write them into a memory"
    ):
        dim.fit((lambda: [X]) if is_sharded else chunked)
    assert not hasattr(dim, "model_")


# Checkpoints


@pytest.fixture(name="no_start")
def _no_start(monkeypatch):
    """Let no process be started."""

    def start(*args):
        raise AssertionError("processes were started")

    monkeypatch.setattr(_launch, "_launch", start)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)


def damage(path):
    path.write_bytes(path.read_bytes()[:-100])


REFUSED = {
    "no folder": ({"checkpoint": "nowhere/file"}, "is no folder; make it first"),
    "foreign": ({"checkpoint": __file__}, "no checkpoint of sk_dim"),
    "damaged": ({"change": damage}, "is cut off or damaged"),
    "parameters": ({"max_iter": 2}, r"other parameters: max_iter \(4 there, 2 here\)"),
    "data": ({"X": TABLE[:-1]}, r"other data: n_samples \(151 there, 150 here\)"),
}


@pytest.fixture(autouse=True)
def _pause(monkeypatch):
    """Give back the pause between checkpoints, which some callbacks here change."""
    monkeypatch.setattr(_checkpoints, "SECONDS", _checkpoints.SECONDS)


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize("name", REFUSED)
def test_checkpoints_are_refused_before_processes_start(name, tmp_path):
    params, message = REFUSED[name]
    params = {"X": TABLE, "change": lambda path: None} | params
    path = tmp_path / "checkpoint"
    kill(path, 4, 1, **DRAWS_NOTHING)
    params.pop("change")(path)
    before = path.read_bytes()
    X = params.pop("X")
    dim = make(path, n_devices=2, **DRAWS_NOTHING).set_params(**params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            dim.fit(X)
    assert not hasattr(dim, "model_")
    assert path.read_bytes() == before


@pytest.mark.usefixtures("no_start")
def test_a_finished_fit_starts_no_processes(tmp_path):
    path = tmp_path / "checkpoint"
    whole = make(path, n_devices=1, **DRAWS_NOTHING).fit(TABLE)
    again = make(path, n_devices=2, **DRAWS_NOTHING).fit(TABLE)
    np.testing.assert_array_equal(again.transform(TABLE), whole.transform(TABLE))


def test_what_ranks_draw_depends_on_seed_step_and_rank():
    shared = torch.Generator().manual_seed(0)

    def draw(rank, step):
        own = ranks_of(3, rank).own_generator(shared, 7, step)
        return torch.rand(4, generator=own).tolist()

    drawn = [draw(rank, step) for rank in range(3) for step in range(3)]
    assert len({tuple(each) for each in drawn}) == 9
    assert drawn == [draw(rank, step) for rank in range(3) for step in range(3)]


def assert_same_bits(one, other):
    for name in ("seconds", "samples_per_second"):
        for row in (*one["history"], *other["history"]):
            row.pop(name, None)
    np.testing.assert_equal(one["history"], other["history"])
    np.testing.assert_array_equal(one["features"], other["features"])
    assert one["weights"].keys() == other["weights"].keys()
    for name, weight in one["weights"].items():
        assert torch.equal(weight, other["weights"][name]), name


@pytest.mark.slow
def test_a_killed_group_goes_on_to_the_same_bits(results):
    for rank in range(2):
        killed = results[rank]["killed"]
        assert_same_bits(killed["resumed"], killed["whole"])
        assert_same_bits(killed["finished"], killed["whole"])
        # Callbacks of gradients go on in all processes.
        assert killed["resumed"]["seen"] == killed["whole"]["seen"] == 4 * 2
        assert "foreign' is a file, but no checkpoint" in killed["refused"]
    assert_same_bits(*(each["killed"]["resumed"] for each in results))


@pytest.mark.slow
def test_other_numbers_of_processes_go_on_with_a_warning(results, folder):
    whole = result(make(n_devices=1, **DRAWS_NOTHING).fit(TABLE))
    resumed = make(folder / "to one", n_devices=1, **DRAWS_NOTHING)
    with pytest.warns(UserWarning, match="with n_devices 2 and goes on with 1, so not"):
        resumed.fit(TABLE)
    killed = results[0]["killed"]
    assert "with n_devices 1 and goes on with 2, so not" in killed["warned"][0]
    assert len(killed["out of time"]["history"]) == 2
    for each in (result(resumed), killed["from one"]):
        np.testing.assert_allclose(each["features"], whole["features"], atol=1e-4)
        losses = [[row["loss"] for row in r["history"]] for r in (each, whole)]
        np.testing.assert_allclose(*losses, atol=1e-4)


class KillProcess(Kill):
    """Kills the process of rank 0, for which the other waits."""

    def on_train_begin(self, net, **kwargs):
        super().on_train_begin(net, **kwargs)
        self.rank = net.ranks.rank

    def kill(self):
        if self.rank == 0:
            die()


@pytest.mark.slow
def test_a_fit_goes_on_after_a_process_was_killed(tmp_path):
    path = tmp_path / "checkpoint"
    whole = make(n_devices=2, **DRAWS).fit(TABLE)
    dim = make(path, n_devices=2, **DRAWS).set_params(callbacks=[KillProcess(5)])
    with pytest.raises(RuntimeError, match="rank 0 of 2 ended with exit code -9"):
        dim.fit(TABLE)
    assert not hasattr(dim, "model_")
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint"]
    resumed = make(path, n_devices=2, **DRAWS).fit(TABLE)
    assert_same_bits(result(resumed), result(whole))
    again = make(path, n_devices=2, **DRAWS).fit(TABLE)  # without processes
    assert_same_bits(result(again), result(whole))
