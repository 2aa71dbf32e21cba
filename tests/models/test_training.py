"""How a fit goes: steps, epochs, where it ends, and what is left of one that was interrupted."""

import errno
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from boards import BLOCKS, checkerboard, fitted, interactions_of
from safetensors import SafetensorError
from safetensors.torch import save_file
from scipy import sparse
from torch import nn

from hybridvae.data.interactions import Targets
from hybridvae.device import choose_device
from hybridvae.errors import HybridVAEError
from hybridvae.evaluation.judge import ValidationNDCG
from hybridvae.models import Context, FitState, _training, create
from hybridvae.models._base import LOCK
from hybridvae.models._row_adam import RowAdam
from hybridvae.models._training import state_folder
from hybridvae.models._vae import clip_gradient


def test_beta_grows_linearly_and_stays():
    model = create("hybridvae", {"beta": 0.2, "anneal_epochs": 4}, Context(device="cpu"))
    assert [model._beta(step, 10) for step in (0, 10, 20, 40, 99)] == pytest.approx([0, 0.05, 0.1, 0.2, 0.2])
    assert create("hybridvae", {"beta": 0.2, "anneal_epochs": 0}, Context(device="cpu"))._beta(0, 10) == 0.2


def test_the_learning_rate_is_halved_after_decay_steps_or_stays():
    model = create("hybridvae", {"learning_rate": 0.6, "decay_steps": 10}, Context(device="cpu"))
    assert [model._learning_rate(step) for step in (0, 10, 20, 50)] == pytest.approx([0.6, 0.3, 0.2, 0.1])
    steady = create("hybridvae", {"learning_rate": 0.6, "decay_steps": 0}, Context(device="cpu"))
    assert steady._learning_rate(99) == 0.6


def test_the_learning_rate_reaches_the_weights():
    def network_after(**block):
        block = {"linear_dim": 2, "epochs": 3, "batch_size": 5, "dropout": 0.0, "clip_norm": 1e9} | block
        model = create("hybridvae", block, Context(device="cpu"))
        return model.fit(interactions_of(checkerboard())).network

    steady = network_after(learning_rate=0.01)
    start = network_after(learning_rate=1e-9)

    def moved(network):
        return (network.mu.weight - start.mu.weight).abs().sum()

    assert moved(network_after(learning_rate=0.01, decay_steps=1)) < 0.8 * moved(steady)


@pytest.mark.parametrize("name", ["multvae", "hybridvae"])
def test_with_a_drawn_softmax_only_the_rows_of_a_step_move(name):
    interactions = interactions_of(np.eye(3, 400, dtype=int) + np.eye(3, 400, 5, dtype=int))  # items 0 to 2, 5 to 7
    block = {"softmax_items": 20, "epochs": 1, "learning_rate": 0.01, "recency": 0.0, "batch_size": 3}
    block |= {"residual_rate": 0.1, "linear_dim": 2} if name == "hybridvae" else {}
    starts, ends = (fitted(name, interactions, **block | {"learning_rate": rate}) for rate in (1e-9, 0.01))
    known = [0, 1, 2, 5, 6, 7]
    for table in ends.network.tables:
        before, after = (model.network.state_dict()[table].numpy() for model in (starts, ends))
        moved = np.flatnonzero(np.abs(after - before).max(axis=1) > 1e-4)
        of_histories = table in ("embedding.weight", "linear_in.weight")
        assert set(moved) <= set(known) if of_histories else len(moved) <= 26 and set(known) <= set(moved), table
    whole = fitted(name, interactions, **block | {"softmax_items": 400})
    assert not whole.network.sparse, "as many draws as items are no draws"


def test_adam_of_rows_moves_them_as_torch_does_where_the_squares_of_a_row_are_equal():
    torch.manual_seed(0)
    start = torch.randn(9, 70_000)  # wider than what is moved at a time: row after row
    tables = [nn.Parameter(start.clone()) for _ in range(2)]
    optimizers = [RowAdam([tables[0]], lr=0.01), torch.optim.SparseAdam([tables[1]], lr=0.01)]
    signs = torch.randn(9, 70_000).sign()
    for rows, size in ((1, 4), 1.0), ((4,), 3.0), ((0, 8), 0.5), ((1, 4), 2.0):
        values = size * torch.arange(1, len(rows) + 1)[:, None] * signs[list(rows)]
        gradient = torch.sparse_coo_tensor(torch.tensor([rows]), values, (9, 70_000), check_invariants=False)
        for table, optimizer in zip(tables, optimizers, strict=True):
            table.grad = gradient
            optimizer.step()
    moved, expected = (table.detach() - start for table in tables)
    torch.testing.assert_close(moved, expected, rtol=0.01, atol=0)  # the first moment has eight bits
    assert not moved[[2, 3, 5, 6, 7]].any() and (moved[[0, 1, 4, 8]].abs() > 0.005).all()


def test_adam_of_rows_divides_a_row_by_the_root_of_the_mean_of_its_squares_and_goes_on_from_its_state():
    table = nn.Parameter(torch.zeros(3, 2))
    optimizer = RowAdam([table], lr=0.1)

    def step(*gradient):
        table.grad = torch.sparse_coo_tensor([[1]], torch.tensor([gradient]), (3, 2), check_invariants=False)
        optimizer.step()

    step(3.0, 4.0)  # of mean square 12.5: 0.1 * 3 / 3.5355 and 0.1 * 4 / 3.5355
    torch.testing.assert_close(table.detach()[1], torch.tensor([-0.08485, -0.11314]), rtol=1e-3, atol=0)
    state = optimizer.state_dict()
    optimizer = RowAdam([table], lr=0.1)
    optimizer.load_state_dict(state)
    assert optimizer.state[table]["exp_avg"].dtype == torch.bfloat16
    # Mean 0.9 * 0.3 + 0.1 * 1 and 0.9 * 0.4 - 0.1 * 1, over 0.19; square 0.999 * 0.0125 + 0.001 * 1, over 0.001999.
    step(1.0, -1.0)
    expected = [-0.08485 - 0.1 * (0.37 / 0.19) / 2.59752, -0.11314 - 0.1 * (0.26 / 0.19) / 2.59752]
    torch.testing.assert_close(table.detach()[1], torch.tensor(expected), rtol=0.01, atol=0)
    assert not table.detach()[[0, 2]].any()


def test_a_gradient_is_clipped_as_torch_does_it_also_where_parts_are_sparse():
    def parameters(sparse):
        table = torch.nn.Parameter(torch.ones(6, 2))
        other = torch.nn.Parameter(torch.ones(3))
        rows = torch.nn.functional.embedding(torch.tensor([1, 4, 1]), table, sparse=sparse)
        (rows.sum() * 3 + (other * torch.tensor([1.0, 2, 3])).sum()).backward()
        return [table, other, torch.nn.Parameter(torch.ones(2))]

    for longest in (1.0, 1e6):
        found, expected = parameters(True), parameters(False)
        clip_gradient(found, longest)
        torch.nn.utils.clip_grad_norm_(expected, longest)
        assert found[0].grad.is_sparse and found[2].grad is None
        torch.testing.assert_close(found[0].grad.to_dense(), expected[0].grad)
        torch.testing.assert_close(found[1].grad, expected[1].grad)


class Killed(Exception):
    """Stands for kill -9: nothing after it runs."""


class Rising:
    """A validation of written-down figures: the fit of `fit_with` stops after epoch 8 and chooses epoch 4."""

    figures = (0.1, 0.3, 0.2, 0.5, 0.4, 0.4, 0.4, 0.4, 0.9)
    identity = "rising"

    def __init__(self):
        self.told = []  # number and figures of each epoch

    def __call__(self, model):
        return self.figures[len(self.told)]


class Falling(Rising):
    """The first epoch is the best: stops after epoch 5 and chooses epoch 1."""

    figures = (0.5, 0.4, 0.4, 0.4, 0.4)
    identity = "falling"


def fit_with(state, validation=None, *, die_at=None, validated=True):
    """A fit of at most 12 epochs, what it told of each, and its context."""
    validation = validation or Rising()

    def on_epoch(number, figures):
        validation.told.append((number, figures))
        if number == die_at:
            raise Killed

    block = BLOCKS["hybridvae"] | {"dropout": 0.3, "epochs": 12, "patience": 4, "validate_every": 1}
    context = Context(seed=5, device="cpu", state=FitState(state) if state else None)
    model = create("hybridvae", block, context)
    model.fit(interactions_of(checkerboard()), validation=validation if validated else None, on_epoch=on_epoch)
    return model, validation.told, context


def killed(state, **options):
    """The folder of a fit that died after epoch 5, of which epoch 4 was the best."""
    with pytest.raises(Killed):
        fit_with(state, die_at=5, **options)
    (folder,) = state.iterdir()
    return folder


def assert_equal_weights(one, other):
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[name]), name


@pytest.mark.parametrize("validated", [True, False])
def test_a_killed_fit_goes_on_and_ends_with_the_same_weights(tmp_path, validated):
    whole, told, _ = fit_with(None, validated=validated)
    killed(tmp_path, validated=validated)
    resumed, told_again, context = fit_with(tmp_path, validated=validated)
    assert told == told_again and len(told) == (8 if validated else 12)
    assert resumed.chosen == whole.chosen == ({"epochs": 4} if validated else {})
    assert_equal_weights(whole, resumed)
    context.state.forget()
    assert not any(tmp_path.iterdir())


def test_a_fit_killed_before_any_change_of_a_file_goes_on_and_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole, told, _ = fit_with(None)
    dies_before = 0

    def mortal(act):
        def step(*arguments, **options):
            nonlocal left
            left -= 1
            if not left:
                raise Killed
            return act(*arguments, **options)

        return step

    while True:
        dies_before += 1
        left, state = dies_before, tmp_path / str(dies_before)
        with monkeypatch.context() as patched:
            for name in ("replace", "unlink"):
                patched.setattr(Path, name, mortal(getattr(Path, name)))
            try:
                fit_with(state)
            except Killed:
                pass
            else:
                break  # it came to its end
        resumed, told_again, _ = fit_with(state)
        assert told == told_again and resumed.chosen == {"epochs": 4}, dies_before
        assert_equal_weights(whole, resumed)
    assert dies_before > 16, "it wrote the state of eight epochs"


def test_only_the_best_weights_that_the_last_state_names_are_kept(tmp_path):
    assert {path.name for path in killed(tmp_path).iterdir()} == {"last.safetensors", "best-4.safetensors", LOCK}


def test_a_fit_goes_on_against_the_same_targets_alone(tmp_path):
    killed(tmp_path)
    alone, told_alone, _ = fit_with(None, Falling())
    other, told, _ = fit_with(tmp_path, Falling())
    assert told == told_alone and len(told) == 5 and other.chosen == alone.chosen == {"epochs": 1}
    assert_equal_weights(alone, other)
    assert len(list(tmp_path.iterdir())) == 2


def name_of_state(context, *, seed=1, block=None, data=None, vectors=None, validation=None):
    """What the folder of a fit is called; None where it keeps no state."""
    data = data or interactions_of(checkerboard())
    model = create("hybridvae", block or {}, context)
    arguments = ("hybridvae", model.config, replace(context, seed=seed), model.device, data)
    folder = state_folder(*arguments, vectors=vectors, validation=validation)
    return folder and folder.path.name


def targets_of(*pairs, part=1):
    users, items = np.array(pairs).T
    return Targets(users, items, np.full((len(pairs), 2), -1), part)


def test_another_fit_never_goes_on_from_this_one(tmp_path, monkeypatch):
    data = interactions_of(checkerboard())
    targets = targets_of((0, 0), (1, 1))
    seen_more = replace(data, ratings=sparse.csr_matrix(np.ones((20, 20), dtype="f")))
    context = Context(seed=1, device="cpu", state=FitState(tmp_path))
    fits = [
        {},
        {"seed": 2},
        {"block": {"beta": 0.1}},
        {"data": interactions_of(1 - checkerboard())},
        {"vectors": data.item_vectors},
        {"vectors": data.item_vectors * 2},
        {"validation": ValidationNDCG(data, targets)},
        {"validation": ValidationNDCG(data, targets_of((0, 0), (1, 3)))},
        {"validation": ValidationNDCG(data, targets_of((0, 0), (2, 1)))},
        {"validation": ValidationNDCG(data, targets_of((0, 0), (1, 1), part=2))},
        {"validation": ValidationNDCG(seen_more, targets)},
        {"validation": Rising()},
        {"validation": Falling()},
    ]
    names = [name_of_state(context, **fit) for fit in fits]
    assert len(set(names)) == len(fits) and None not in names
    assert names == [name_of_state(context, **fit) for fit in fits]
    assert names[6] == name_of_state(context, validation=ValidationNDCG(replace(data), targets_of((0, 0), (1, 1))))
    for module, name, value in [
        (torch, "get_num_threads", 7),
        (torch.backends.cpu, "get_cpu_capability", "ABACUS"),
        (_training, "fingerprint", "other code"),
    ]:
        with monkeypatch.context() as patched:
            patched.setattr(module, name, lambda *_, value=value: value)
            assert name_of_state(context) not in names, name


def test_with_a_validation_that_nobody_can_identify_no_state_is_kept(tmp_path, capsys):
    context = Context(seed=1, device="cpu", state=FitState(tmp_path))
    assert name_of_state(context, validation=lambda model: 0.0) is None
    assert "the fit keeps no state" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def flip(path):
    content = bytearray(path.read_bytes())
    content[-len(content) // 4] ^= 1
    path.write_bytes(content)


def change_the_record(path):
    content = path.read_bytes()
    assert content.count(b"0.5") == 2, "the best value, and in the history"
    path.write_bytes(content.replace(b"0.5", b"0.9"))


DAMAGES = {
    "a bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "garbage": lambda path: path.write_bytes(b"\xff" * 5000),
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: (path.unlink(), path.mkdir(), (path / "file").touch()),
    "without a hash": lambda path: save_file({"a": torch.zeros(3)}, path),
}


@pytest.mark.parametrize(
    ("file", "damage"),
    [(file, damage) for file in ("last.safetensors", "best-4.safetensors") for damage in DAMAGES.values()]
    + [("last.safetensors", change_the_record), ("best-4.safetensors", Path.unlink)],
)
def test_a_damaged_state_is_an_absent_one(tmp_path, capsys, file, damage):
    whole, told, _ = fit_with(None)
    damage(killed(tmp_path) / file)
    anew, told_again, context = fit_with(tmp_path)
    assert told == told_again
    assert_equal_weights(whole, anew)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is damaged" in said and file in said and "begins anew" in said
    for path in context.state._used.values():
        path.release()
    fit_with(tmp_path)  # what was damaged is overwritten
    assert not capsys.readouterr().err


def test_where_no_state_can_be_kept_a_fit_does_without(tmp_path, capsys, monkeypatch):
    whole, told, _ = fit_with(None)
    (tmp_path / "file").write_text("")
    _, told_again, context = fit_with(tmp_path / "file")
    context.state.forget()
    said = capsys.readouterr().err
    assert told == told_again and said.count("\n") == 1 and "keeps no state of this fit" in said

    def full(*_, **__):
        raise SafetensorError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(_training, "save_file", full)
        model, told_again, _ = fit_with(tmp_path / "full")
    said = capsys.readouterr().err
    assert told == told_again and said.count("\n") == 1 and "cannot be written" in said and "No space left" in said
    assert_equal_weights(whole, model)


def test_a_file_system_without_locks_keeps_no_state(tmp_path, capsys, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    _, told, _ = fit_with(tmp_path)
    said = capsys.readouterr().err
    assert len(told) == 8 and said.count("\n") == 1 and "the file system has no locks" in said
    (folder,) = tmp_path.iterdir()
    assert not any(folder.iterdir()), "nothing is left that would lock others out"


def test_of_two_fits_at_once_the_second_keeps_no_state_and_ends_the_same(tmp_path, capsys):
    first, told, context = fit_with(tmp_path)
    second, told_again, other = fit_with(tmp_path)
    assert told == told_again
    assert_equal_weights(first, second)
    assert capsys.readouterr().err == (
        "warning: another process is at the same fit: this one keeps no state, and begins anew if it is stopped.\n"
    )
    (folder,) = tmp_path.iterdir()
    other.state.forget()
    assert (folder / "last.safetensors").exists(), "which is the first one's"
    assert context.state.folder(folder.name) is context.state.folder(folder.name), "one's own lock locks nobody out"
    assert other.state.folder(folder.name) is None
    context.state.forget()
    assert not any(tmp_path.iterdir())
    other.state.folder(folder.name).release()
    assert context.state.folder(folder.name)
    other.state.forget()
    assert folder.exists(), "what it let go of is another's"


THREE_FITS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_training import fit_with
from hybridvae.models._training import _sha256
for _ in range(3):
    model, told, context = fit_with(Path(sys.argv[2]))
    context.state.forget()
    print(model.chosen["epochs"], len(told), _sha256(model.network.state_dict(), ""))
"""


def test_processes_with_one_cache_all_end_the_same(tmp_path):
    command = [sys.executable, "-c", THREE_FITS, str(Path(__file__).parent), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outcomes = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], outcomes
    said = [line for lines, _ in outcomes for line in lines.splitlines()]
    assert len(said) == 6 and len(set(said)) == 1 and said[0].startswith("4 8 ")
    assert not any(tmp_path.iterdir())


def test_states_that_nobody_has_asked_for_in_a_month_are_removed(tmp_path):
    held, month = FitState(tmp_path), 31 * 86_400
    old, held_still, young, asked_for = (letter * 32 for letter in "abcd")
    for name in (old, held_still, young, asked_for):
        folder = held.folder(name)
        (folder.path / "last.safetensors").touch()
        if name != held_still:
            folder.release()
    (tmp_path / "notes").mkdir()
    for name in (old, held_still, asked_for, "notes"):
        os.utime(tmp_path / name, (time.time() - month,) * 2)
    assert (FitState(tmp_path).folder(asked_for).path / "last.safetensors").exists()
    assert {path.name for path in tmp_path.iterdir()} == {held_still, young, asked_for, "notes"}


def test_a_fit_ends_at_a_validation_and_not_before_it():
    block = BLOCKS["hybridvae"] | {"epochs": 40, "patience": 3, "validate_every": 5}
    figures = iter([0.1, 0.2, 0.3, 0.3, 0.4])  # of epochs 5, 10, 15 and 20: the last brings nothing better
    told = []
    model = create("hybridvae", block, Context(seed=5, device="cpu"))
    model.fit(
        interactions_of(checkerboard()), validation=lambda _: next(figures), on_epoch=lambda *epoch: told.append(epoch)
    )
    assert len(told) == 20 and model.chosen == {"epochs": 15}


def test_a_seed_below_zero_is_refused():
    with pytest.raises(HybridVAEError, match="the seed -1 is negative"):
        create("hybridvae", {}, Context(seed=-1, device="cpu")).fit(interactions_of(checkerboard()))


def test_a_diverging_loss_says_what_to_do():
    with pytest.raises(HybridVAEError, match="learning_rate"):
        fitted("hybridvae", interactions_of(checkerboard()), learning_rate=1e30, beta=10.0)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(HybridVAEError, match="abacus"):
        choose_device("abacus")
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}
