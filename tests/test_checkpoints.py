"""Checkpoints: after a kill a fit goes on to the same bits; no file is ever broken."""

import copy
import errno
import os
import pickle
import signal
import subprocess
import sys
import time
import zlib
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

import sk_dim
from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer, _files
from sk_dim._training import _checkpoint_files, _checkpoints
from sk_dim.critics import DotCritic
from sk_dim.encoders import Features
from sk_dim.evaluation import ProbingCallback

rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(60, 8, 8))
TABLE = rng.normal(size=(60, 12))
SERIES = rng.normal(size=(40, 1, 24)).cumsum(axis=2)
GROUPS = np.arange(60) % 20
FIRST = {"n_components": 8, "max_iter": 4, "batch_size": 16, "random_state": 0}
TIMES = ("seconds", "samples_per_second")


class Dropped(nn.Module):
    """An encoder of the user that draws from torch's global generator."""

    def __init__(self, input_shape, n_components):
        super().__init__()
        self.map = nn.Linear(*input_shape, n_components)

    def forward(self, batch):
        features = nn.functional.dropout(self.map(batch), training=self.training)
        return Features(features, None, None, features[:, :, None])


SMALL = FIRST | {"encoder": Dropped, "critic": partial(DotCritic, n_units=8)}


class KilledError(Exception):
    """Raised where a process would have been killed."""


class Kill(Callback):
    """Ends a fit in an epoch, after a number of its steps or at its end."""

    def __init__(self, epoch, n_steps=None):
        self.epoch = epoch
        self.n_steps = n_steps

    def on_batch_end(self, net, training, **_):
        is_there = training and len(net.part.values) == self.n_steps
        if len(net.history) == self.epoch and is_there:
            raise KilledError

    def on_epoch_end(self, net, **_):
        if len(net.history) == self.epoch and self.n_steps is None:
            raise KilledError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(path=None, **params):
    return DeepInfomaxTransformer(**(SMALL | {"checkpoint": path} | params))


def kill(path, X, epoch, n_steps=None, groups=None, **params):
    """Fit until a kill, which leaves a checkpoint."""
    callbacks = [Kill(epoch, n_steps), *params.pop("callbacks", [])]
    estimator = make(path, callbacks=callbacks, **params)
    with pytest.raises(KilledError):
        estimator.fit(X, groups=groups)
    return estimator


def assert_same_bits(one, other, X):
    rows = [
        [{k: v for k, v in row.items() if k not in TIMES} for row in each.history_]
        for each in (one, other)
    ]
    np.testing.assert_equal(*rows)
    np.testing.assert_array_equal(one.transform(X), other.transform(X))
    states = one.net_.criterion_.state_dict(), other.net_.criterion_.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# The same bits

AS_SERIES = {"input_type": "series"}
CASES = {
    "conv, groups": (IMAGES, {"encoder": "conv", "groups": GROUPS}),
    "mlp, held out": (TABLE, {"encoder": "mlp", "validation_fraction": 0.2}),
    # More than views are encoded of, so that random ones are.
    "series": (np.tile(SERIES, (13, 1, 1)), {"encoder": "series"} | AS_SERIES),
    "adversary": (TABLE, {"encoder": "mlp", "prior_weight": 0.1}),
    "patch": (np.tile(IMAGES, (1, 2, 2)), {"encoder": "patch"}),
    "groups held out": (TABLE, {"validation_fraction": 0.2, "groups": GROUPS}),
    "dropout": (TABLE, {}),
    "auto": (TABLE, {"max_iter": "auto"}),
    "no seed": (TABLE, {"random_state": np.random.RandomState(0)}),
}
WITHIN = {"groups held out": False}  # what is not slow


@pytest.mark.parametrize(
    ("name", "is_within"),
    [
        pytest.param(
            name,
            is_within,
            marks=() if WITHIN.get(name) is is_within else pytest.mark.slow,
            id=f"{name}, {'within' if is_within else 'between'} epochs",
        )
        for name in CASES
        for is_within in (False, True)
    ],
)
def test_a_fit_goes_on_to_the_same_bits(name, is_within, tmp_path, monkeypatch):
    X, params = CASES[name]
    params = copy.deepcopy(params)
    groups = params.pop("groups", None)
    path = tmp_path / "checkpoint"
    whole = make(**params).fit(X, groups=groups)
    if name == "no seed":  # but the same for the fit that is killed
        params["random_state"].set_state(np.random.RandomState(0).get_state())
    if is_within:
        monkeypatch.setattr(_checkpoints, "SECONDS", 0.0)
    epoch = int(np.random.default_rng(len(name)).integers(2, 4))
    kill(path, X, epoch, 2 if is_within else None, groups, **params)
    resumed = make(path, warm_start=True, **params).fit(X, groups=groups)
    assert_same_bits(whole, resumed, X)
    assert names(tmp_path) == ["checkpoint"]


def test_a_fit_may_be_killed_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoints, "SECONDS", 0.0)
    path = tmp_path / "checkpoint"
    whole = make().fit(TABLE)
    for epoch, n_steps in [(1, 2), (1, 4), (2, 3), (3, None), (4, 3)]:
        kill(path, TABLE, epoch, n_steps, warm_start=True)
    assert_same_bits(whole, make(path, warm_start=True).fit(TABLE), TABLE)


@pytest.mark.slow
def test_a_fit_that_went_on_in_memory_goes_on_too(tmp_path):
    """The scaling is that of the first fit, whatever rows the second gets."""
    path = tmp_path / "checkpoint"
    whole = make(warm_start=True).fit(TABLE).fit(5 * TABLE)
    killed = make(path, warm_start=True).fit(TABLE)
    with pytest.raises(KilledError):
        killed.set_params(callbacks=[Kill(4 + 3)]).fit(5 * TABLE)
    assert killed.n_iter_ == 4  # as it was
    resumed = make(path, warm_start=True).fit(5 * TABLE)
    assert_same_bits(whole, resumed, TABLE)
    # The same object goes on from the file as well.
    killed.set_params(callbacks=None).fit(5 * TABLE)
    assert_same_bits(whole, killed, TABLE)


def test_a_finished_fit_is_returned_at_once(tmp_path):
    path = tmp_path / "checkpoint"
    whole = make(path).fit(TABLE)
    before = path.read_bytes()
    again = make(path, warm_start=True, callbacks=[Kill(1, 1)]).fit(TABLE)
    assert_same_bits(whole, again, TABLE)
    assert path.read_bytes() == before
    # Once it is in memory, another fit trains it on.
    assert again.set_params(callbacks=None).fit(TABLE).n_iter_ == 8


def test_the_first_checkpoint_of_a_new_fit_replaces_the_file(tmp_path):
    path = tmp_path / "checkpoint"
    make(path).fit(TABLE)
    before = path.read_bytes()
    kill(path, TABLE, epoch=1)
    assert path.read_bytes() == before
    kill(path, TABLE, epoch=2)
    assert path.read_bytes() != before


def test_a_finished_file_has_moments_only_for_warm_starts(tmp_path):
    path = tmp_path / "checkpoint"
    for warm_start in (False, True):
        path.unlink(missing_ok=True)
        make(path, warm_start=warm_start, max_iter=1).fit(TABLE)
        progress = _checkpoint_files.read(path, with_state=True)["progress"]
        assert ("optimizer" in progress) is warm_start


def test_time_before_the_kill_counts(tmp_path):
    path = tmp_path / "checkpoint"
    params = {"max_time": 1e5, "max_iter": "auto"}
    kill(path, TABLE, 3, **params)
    state = _checkpoint_files.read(path, with_state=True)
    assert 0 < state["training"]["seconds"] < 1e5
    state["training"]["seconds"] = 1e6
    _checkpoint_files.write(path, state)
    resumed = make(path, warm_start=True, **params).fit(TABLE)
    assert resumed.n_iter_ == 3  # the two of the file, and one that time ended


@pytest.mark.slow
def test_a_killed_process_leaves_a_whole_file(tmp_path):
    path = tmp_path / "checkpoint"
    np.save(tmp_path / "X.npy", TABLE)
    code = f"""
import os, signal, sys
import numpy as np
from skorch.callbacks import Callback
from sk_dim import DeepInfomaxTransformer
class Kill(Callback):
    def on_batch_end(self, net, **_):
        if len(net.history) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
X = np.load({str(tmp_path / "X.npy")!r})
params = {FIRST!r}
DeepInfomaxTransformer(**params, checkpoint={str(path)!r}, callbacks=[Kill()]).fit(X)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    auto = {"encoder": "auto", "critic": "dot"}
    resumed = make(path, warm_start=True, **auto).fit(TABLE)
    assert resumed.n_iter_ == 4
    # Not to the bit: a child may have another number of threads.
    whole = make(**auto).fit(TABLE)
    np.testing.assert_allclose(
        resumed.transform(TABLE), whole.transform(TABLE), atol=1e-3
    )


# Callbacks


class Counts(Callback):
    """Counts epochs and batches, and keeps what no file may hold."""

    def on_train_begin(self, net, **_):
        self.epochs_, self.batches_ = [], np.int64(0)
        self.function_ = lambda: None

    def on_epoch_begin(self, net, **_):
        self.epochs_.append(len(net.history))

    def on_batch_end(self, net, **_):
        self.batches_ += 1


def counts(estimator):
    return next(c for _, c in estimator.net_.callbacks_ if isinstance(c, Counts))


@pytest.mark.parametrize("n_steps", [None, 2], ids=["between epochs", "within one"])
def test_callbacks_of_skorch_go_on(n_steps, tmp_path, monkeypatch):
    if n_steps is not None:
        monkeypatch.setattr(_checkpoints, "SECONDS", 0.0)
    path = tmp_path / "checkpoint"
    kill(path, TABLE, 3, n_steps, callbacks=[Counts()])
    # The order of callbacks is that of the fit before.
    callbacks = [Kill(99), Counts()]
    found = counts(make(path, warm_start=True, callbacks=callbacks).fit(TABLE))
    assert found.epochs_ == [1, 2, 3, 4]
    assert found.batches_ == 4 * 4
    assert found.function_() is None


class Tasks:
    """A callback of scikit-learn that remembers the tasks of a fit."""

    def setup(self, estimator, context):
        self.ids = []

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.ids.append((context.task_id, fitted_estimator is not None))

    def teardown(self, estimator, context):
        pass


@pytest.mark.slow
def test_callbacks_of_scikit_learn_go_on(tmp_path):
    path = tmp_path / "checkpoint"
    y = np.arange(60) % 2
    whole, tasks = ProbingCallback(TABLE, y, every=1, cv=2), Tasks()
    make().set_callbacks(whole).fit(TABLE)
    killed = make(path, callbacks=[Kill(3)])
    with pytest.raises(KilledError):
        killed.set_callbacks(ProbingCallback(TABLE, y, every=1, cv=2)).fit(TABLE)
    resumed = make(path, warm_start=True)
    probing = ProbingCallback(TABLE, y, every=1, cv=2)
    resumed.set_callbacks(probing, tasks).fit(TABLE)
    assert tasks.ids == [(0, False), (1, False), (2, True), (3, True)]
    assert probing.history_ == whole.history_
    # A fit that finds the training finished has them too.
    probing = ProbingCallback(TABLE, y, every=1, cv=2)
    make(path, warm_start=True).set_callbacks(probing).fit(TABLE)
    assert probing.history_ == whole.history_


def test_the_report_counts_on(tmp_path, capsys):
    path = tmp_path / "checkpoint"
    kill(path, TABLE, 3)
    make(path, warm_start=True, verbose=1).fit(TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0] for line in lines] == ["epoch 3/4", "epoch 4/4"]


def test_ctrl_c_keeps_the_file_of_the_last_epoch(tmp_path):
    class Press(Callback):
        def on_batch_end(self, net, **_):
            if len(net.history) == 3:
                signal.raise_signal(signal.SIGINT)

    path = tmp_path / "checkpoint"
    stopped = make(path, warm_start=True, callbacks=[Press()])
    with pytest.warns(UserWarning, match="after 2 of 4 epochs"):
        stopped.fit(TABLE)
    assert stopped.n_iter_ == 2
    # Another fit goes on to the end, in the same object too.
    stopped.set_params(callbacks=None).fit(TABLE)
    assert_same_bits(make().fit(TABLE), stopped, TABLE)


@pytest.mark.slow
@pytest.mark.parametrize("random_state", [0, None])
def test_the_pretraining_of_a_classifier_goes_on(random_state, tmp_path):
    path = tmp_path / "checkpoint"
    y = np.arange(60) % 2
    params = {"fine_tune": "head", "random_state": random_state}
    seed = {"random_state": random_state}
    whole = DeepInfomaxClassifier(make(**seed), **params).fit(TABLE, y)
    given = make(path, warm_start=True, callbacks=[Kill(3)], **seed)
    model = DeepInfomaxClassifier(given, **params)
    with pytest.raises(KilledError):
        model.fit(TABLE, y)
    assert not [name for name in vars(model) if name.endswith("_")]
    given.set_params(callbacks=None)
    model.fit(TABLE, y)
    assert model.encoder_.n_iter_ == 4
    if random_state is not None:
        expected = whole.predict_proba(TABLE)
        np.testing.assert_array_equal(model.predict_proba(TABLE), expected)


# What is refused, with nothing overwritten


def damaged(content):
    return content[:-1000]


def foreign(content):
    return b"PK\x03\x04" + content


def newer(content):
    return content.replace(b"checkpoint 1\n", b"checkpoint 2\n", 1)


@pytest.fixture(scope="module", name="saved")
def _saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "checkpoint"
    kill(path, TABLE, 2, groups=GROUPS)
    return path.read_bytes()


OTHER = TABLE.copy()
OTHER[0] += 1
REFUSED = {
    "rows": ({"X": TABLE[:50], "groups": GROUPS[:50]}, r"n_samples \(60 there, 50 h"),
    "columns": ({"X": TABLE[:, :6]}, "other data: shape"),
    "values": ({"X": OTHER}, "other data: values"),
    "other groups": ({"groups": GROUPS[::-1] % 7}, "other data: groups"),
    "no groups": ({"groups": None}, "other data: groups"),
    "max_iter": ({"max_iter": 5}, r"parameters: max_iter \(4 there, 5 here\); set"),
    "seed": ({"random_state": 1}, r"random_state \(0 there, 1 here\)"),
    "bound": ({"bound": "jsd"}, r"bound \('infonce' there, 'jsd' here\)"),
    "weight": ({"local_weight": 2.0}, r"local_weight \(1.0 there, 2.0 here\)"),
    "encoder": ({"encoder": "mlp"}, "encoder .*'Dropped' there"),
    "width": ({"n_components": 9}, r"n_components \(8 there, 9 here\)"),
    "damaged": ({"change": damaged}, "is cut off or damaged"),
    "foreign": ({"change": foreign}, "no checkpoint of sk_dim"),
    "empty": ({"change": lambda _: b""}, "no checkpoint of sk_dim"),
    "newer": ({"change": newer}, "later version"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_belong_together_is_refused(name, saved, tmp_path):
    params, match = REFUSED[name]
    given = {"X": TABLE, "groups": GROUPS, "change": lambda content: content} | params
    content = given.pop("change")(saved)
    X, groups = given.pop("X"), given.pop("groups")
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    estimator = make(path, warm_start=True, **given)
    with pytest.raises(ValueError, match=match) as caught:
        estimator.fit(X, groups=groups)
    assert len(str(caught.value).split(". ")) == 1  # one sentence
    assert path.read_bytes() == content
    assert not [name for name in vars(estimator) if name.endswith("_")]
    if name == "foreign":  # a file of the user is not overwritten either
        with pytest.raises(ValueError, match=match):
            make(path).fit(X)
        assert path.read_bytes() == content


def test_a_refused_fit_leaves_a_fitted_estimator_as_it_was(saved, tmp_path):
    path = tmp_path / "checkpoint"
    path.write_bytes(saved)
    estimator = make(warm_start=True, max_iter=1).fit(TABLE)
    Z = estimator.transform(TABLE)
    estimator.set_params(checkpoint=path)
    with pytest.raises(ValueError, match="other parameters: max_iter"):
        estimator.fit(TABLE, groups=GROUPS)
    # One that breaks off after it went on from the file too.
    estimator.set_params(max_iter=4, callbacks=[Kill(3)])
    with pytest.raises(KilledError):
        estimator.fit(TABLE, groups=GROUPS)
    np.testing.assert_array_equal(estimator.transform(TABLE), Z)
    assert estimator.n_iter_ == 1


def test_values_between_the_rows_that_are_looked_at_tell_too(tmp_path, monkeypatch):
    monkeypatch.setattr("sk_dim._inputs._rows.SAMPLE_VALUES", 0)  # 64 rows at least
    X = np.tile(TABLE, (4, 1))
    path = tmp_path / "checkpoint"
    kill(path, X, 2)
    other = X.copy()
    drawn = torch.randperm(240, generator=torch.Generator().manual_seed(0))
    other[drawn[64]] += 1
    with pytest.raises(ValueError, match="other data: mean or spread"):
        make(path, warm_start=True).fit(other)


class Creates:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_loading_runs_no_code(tmp_path):
    path = tmp_path / "checkpoint"
    made = tmp_path / "made"
    buffers = [pickle.dumps(Creates(str(made)), protocol=2)]
    torch.save({"training": Creates(str(made))}, tmp_path / "file.pt")
    buffers.append((tmp_path / "file.pt").read_bytes())
    for content in buffers:
        checksum = zlib.crc32(content).to_bytes(4, "little")
        path.write_bytes(_checkpoint_files.HEADER + checksum + content)
        with pytest.raises(ValueError, match="is not loaded"):
            make(path, warm_start=True).fit(TABLE)
    assert not made.exists()


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("", ValueError, "is a folder; give the path of a file"),
        ("none/checkpoint", ValueError, "which is no folder; make it first"),
        (7, TypeError, "checkpoint=7 must be a path"),
    ],
    ids=["folder", "no folder", "number"],
)
def test_a_path_that_cannot_be_written_is_refused(name, error, match, tmp_path):
    path = str(tmp_path / name) if isinstance(name, str) else name
    estimator = make(path, callbacks=[Kill(1, 1)])
    with pytest.raises(error, match=match):
        estimator.fit(TABLE)
    with pytest.raises(error, match=match.replace("checkpoint=", "path=")):
        sk_dim.save(estimator, path)
    assert names(tmp_path) == []


def test_a_folder_without_rights_and_a_full_disk_are_refused(tmp_path, monkeypatch):
    estimator = make(tmp_path / "checkpoint", callbacks=[Kill(1, 1)])
    usage = _files.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        full = usage._replace(free=100)
        patch.setattr(_files.shutil, "disk_usage", lambda _: full)
        with pytest.raises(ValueError, match=r"needs . MB, but 0 MB are free"):
            estimator.fit(TABLE)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_files.Path, "touch", refuse)
    with pytest.raises(ValueError, match="PermissionError: Permission denied"):
        estimator.fit(TABLE)
    assert not [name for name in vars(estimator) if name.endswith("_")]


# A write that fails


def test_a_disk_that_fills_up_keeps_the_last_good_file(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    contents = []

    class Fills(Callback):
        def on_epoch_begin(self, net, **_):
            if len(net.history) == 3:
                contents.append(path.read_bytes())
                monkeypatch.setattr(_files.os, "fsync", fail)

    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.warns(UserWarning, match="could not be written .*No space") as caught:
        full = make(path, callbacks=[Fills()]).fit(TABLE)
    assert len(caught) == 1
    assert_same_bits(make().fit(TABLE), full, TABLE)
    assert [path.read_bytes()] == contents
    assert names(tmp_path) == ["checkpoint"]
    monkeypatch.undo()
    resumed = make(path, warm_start=True).fit(TABLE)
    assert_same_bits(full, resumed, TABLE)


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "dim.joblib"
    sk_dim.save([1, 2], path)
    assert joblib.load(path) == [1, 2]

    def break_off(_, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(_files.joblib, "dump", break_off)
    with pytest.raises(KeyboardInterrupt):
        sk_dim.save([3], path)
    assert joblib.load(path) == [1, 2]
    assert names(tmp_path) == ["dim.joblib"]


def test_parts_of_killed_writers_are_removed_when_they_are_old(tmp_path):
    old, new = (tmp_path / f".sk_dim-{name}.partial" for name in ("old", "new"))
    old.touch(), new.touch()
    then = time.time() - 2 * _files.UNTOUCHED
    os.utime(old, (then, then))
    sk_dim.save(1, tmp_path / "one")
    assert names(tmp_path) == [new.name, "one"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "one")
    sk_dim.save(1, link)
    assert link.is_symlink()
    assert joblib.load(tmp_path / "there" / "one") == 1


def test_every_save_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, _files.Path.replace
    monkeypatch.setattr(_files.os, "fsync", lambda f: (done.append("sync"), fsync(f)))
    monkeypatch.setattr(
        _files.Path, "replace", lambda *a: (done.append("name"), replace(*a))
    )
    sk_dim.save(1, tmp_path / "one")
    assert done == ["sync", "name", "sync"]


def test_describe_tells_settings_apart():
    from sk_dim.augmentations import Compose, crop, flip, noise

    def own():
        """Stand for a part of the user."""

    different = [
        None, 1, 1.5, "a", crop, own, Dropped, partial(crop, min_area=0.5),
        partial(crop, min_area=0.6), Compose((crop, noise)), Compose((crop, flip)),
    ]  # fmt: skip
    texts = [repr(_checkpoints.describe(each)) for each in different]
    assert len(set(texts)) == len(different)
    assert _checkpoints.describe(np.int64(1)) == 1
    assert " at 0x" not in "".join(texts)  # the same in another process


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["chunks", "shards"])
def test_what_is_read_in_blocks_goes_on_too(tmp_path, kind):
    rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    if kind == "chunks":
        X = pytest.importorskip("dask.array").from_array(rows, chunks=(50, 3))
    else:
        X = partial(np.array_split, rows, 4)
    params = {"n_components": 8, "max_iter": 3, "batch_size": 32, "random_state": 0}
    whole = DeepInfomaxTransformer(**params).fit(X).transform(rows)

    class Killed(Exception):
        """Takes the place of a kill."""

    class KillAt(Callback):
        def on_batch_end(self, net, **kwargs):
            if net.n_steps == 9:
                raise Killed

    params["checkpoint"] = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        DeepInfomaxTransformer(**params, callbacks=[KillAt()]).fit(X)
    resumed = DeepInfomaxTransformer(**params, warm_start=True).fit(X)
    np.testing.assert_array_equal(resumed.transform(rows), whole)


class GoElsewhere(Callback):
    """Changes the current folder within a fit."""

    def __init__(self, folder):
        self.folder = folder

    def on_epoch_begin(self, net, **_):
        os.chdir(self.folder)


def test_a_relative_path_is_that_of_the_folder_at_the_start(tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    callbacks = [GoElsewhere(tmp_path / "there")]
    DeepInfomaxTransformer(checkpoint="run.ckpt", callbacks=callbacks, **SMALL).fit(
        TABLE
    )
    assert names(tmp_path / "here") == ["run.ckpt"]
    assert names(tmp_path / "there") == []
