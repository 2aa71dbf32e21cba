"""How a fit goes: steps, epochs, where it ends, and what is left of one that was interrupted."""

import pytest
import torch
from boards import BLOCKS, checkerboard, fitted, interactions_of

from hybridvae.device import choose_device
from hybridvae.errors import HybridVAEError
from hybridvae.models import Context, FitState, create
from hybridvae.models._training import state_folder


def test_beta_grows_linearly_and_stays():
    model = create("hybridvae", {"beta": 0.2, "anneal_epochs": 4}, Context(device="cpu"))
    assert [model._beta(step, 10) for step in (0, 10, 20, 40, 99)] == pytest.approx([0, 0.05, 0.1, 0.2, 0.2])
    assert create("hybridvae", {"beta": 0.2, "anneal_epochs": 0}, Context(device="cpu"))._beta(0, 10) == 0.2


def test_the_learning_rate_is_halved_after_decay_steps_or_stays():
    model = create("hybridvae", {"learning_rate": 0.6, "decay_steps": 10}, Context(device="cpu"))
    assert [model._learning_rate(step) for step in (0, 10, 20, 50)] == pytest.approx([0.6, 0.3, 0.2, 0.1])
    steady = create("hybridvae", {"learning_rate": 0.6, "decay_steps": 0}, Context(device="cpu"))
    assert steady._learning_rate(99) == 0.6


def test_the_learning_rate_and_the_weight_decay_reach_the_weights():
    def network_after(**block):
        block = {"linear_dim": 2, "epochs": 3, "batch_size": 5, "dropout": 0.0, "clip_norm": 1e9} | block
        model = create("hybridvae", block, Context(device="cpu"))
        return model.fit(interactions_of(checkerboard())).network

    steady = network_after(learning_rate=0.01)
    start = network_after(learning_rate=1e-9)

    def moved(network):
        return (network.mu.weight - start.mu.weight).abs().sum()

    assert moved(network_after(learning_rate=0.01, decay_steps=1)) < 0.8 * moved(steady)
    # 12 steps that each take 1 - 0.01 * 20 of what is there leave little of where the linear path started.
    decayed = network_after(learning_rate=0.01, linear_decay=20.0)
    assert decayed.linear_in.weight.norm() < 0.3 * steady.linear_in.weight.norm()
    assert decayed.embedding.weight.norm() > 0.8 * steady.embedding.weight.norm(), "nothing else decays"


class Killed(Exception):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.parametrize("validated", [True, False])
def test_a_killed_fit_goes_on_and_ends_with_the_same_weights(tmp_path, validated):
    interactions = interactions_of(checkerboard())
    block = BLOCKS["hybridvae"] | {"dropout": 0.3, "epochs": 12, "patience": 4, "validate_every": 1}
    rising = [0.1, 0.3, 0.2, 0.5, 0.4, 0.4, 0.4, 0.4, 0.9]  # stops after epoch 8, chooses epoch 4

    def fit(state, die_at=None):
        epochs = []

        def on_epoch(number, figures):
            epochs.append((number, figures))
            if number == die_at:
                raise Killed

        context = Context(seed=5, device="cpu", state=FitState(state))
        validation = (lambda model: rising[len(epochs)]) if validated else None
        model = create("hybridvae", block, context).fit(interactions, validation=validation, on_epoch=on_epoch)
        return model, epochs, context

    whole, told, _ = fit(tmp_path / "a")
    with pytest.raises(Killed):
        fit(tmp_path / "b", die_at=5)
    resumed, told_again, context = fit(tmp_path / "b")
    assert told == told_again and len(told) == (8 if validated else 12)
    assert resumed.epochs == whole.epochs == (4 if validated else 0)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
    context.state.forget()
    assert not any((tmp_path / "b").iterdir())


def test_another_fit_never_goes_on_from_this_one(tmp_path):
    interactions = interactions_of(checkerboard())
    other = interactions_of(1 - checkerboard())
    prints = set()
    for seed, block, data, validation in [
        (1, {}, interactions, len),
        (1, {}, interactions, lambda model: 0.0),  # written here: this file and what it imports count too
        (2, {}, interactions, lambda model: 0.0),
        (1, {"beta": 0.1}, interactions, lambda model: 0.0),
        (1, {}, other, lambda model: 0.0),
        (1, {}, interactions, None),
    ]:
        model = create("hybridvae", block, Context(seed=seed, device="cpu"))
        context = Context(seed=seed, state=FitState(tmp_path))
        arguments = (model.config, context, model.device, data)
        prints.add(state_folder("hybridvae", *arguments, vectors=data.item_vectors, validation=validation))
    assert len(prints) == 6


def test_a_fit_ends_at_a_validation_and_not_before_it():
    block = BLOCKS["hybridvae"] | {"epochs": 40, "patience": 3, "validate_every": 5}
    figures = iter([0.1, 0.2, 0.3, 0.3, 0.4])  # of epochs 5, 10, 15 and 20: the last brings nothing better
    told = []
    model = create("hybridvae", block, Context(seed=5, device="cpu"))
    model.fit(
        interactions_of(checkerboard()), validation=lambda _: next(figures), on_epoch=lambda *epoch: told.append(epoch)
    )
    assert len(told) == 20 and model.epochs == 15


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
