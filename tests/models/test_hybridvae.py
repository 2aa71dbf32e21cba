"""HybridVAE's parts, each against its formula."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from boards import checkerboard, fitted, histories_of, interactions_of
from networks import a_bag, a_network
from scipy import sparse
from scipy.stats import zscore
from torch.nn import functional as F

from hybridvae.config import read_config
from hybridvae.errors import HybridVAEError
from hybridvae.files import parse_yaml
from hybridvae.models import Context, create, load
from hybridvae.models._softmax import log_normaliser
from hybridvae.models._vae import Alternatives, Bag, kl_divergence
from hybridvae.models.hybridvae import Config, whitened


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"dropout": 1.0}, "dropout is 1.0: it must be a number from 0 to below 1"),
        ({"latent_dim": 0}, "latent_dim is 0: it must be a whole number from 1 to"),
        ({"latent_dim": 6.5}, "latent_dim is 6.5: it must be a whole number"),
        ({"learning_rate": "1e-3"}, "must be a number"),
        ({"hidden_dims": 512}, "must be a list"),
        ({"hidden_dims": []}, "a list of 1 to 20 values"),
        (5, "hybridvae is 5: it must be a block of parameters"),
        ({"input_dropout": -0.1}, "input_dropout is -0.1: it must be"),
        ({"linear_dim": -1}, "linear_dim is -1: it must be a whole number from 0 to"),
        ({"scale": 0.0}, "scale is 0.0: it must be a number above 0"),
        ({"whitening": 1.5}, "whitening is 1.5: it must be a number from 0 to 1"),
        ({"decay_steps": -1}, "decay_steps is -1: it must be a whole number from 0"),
        ({"residual_rate": -0.1}, "residual_rate is -0.1: it must be a number of 0 or more"),
        ({"ease_weight": "auto"}, "ease_weight is 'auto': it must be a number"),
        ({"softmax_items": -1}, "softmax_items is -1: it must be a whole number from 0"),
    ],
)
def test_wrong_values_are_refused_in_words(block, words):
    with pytest.raises(HybridVAEError, match=words):
        create("hybridvae", block, Context())


def test_a_number_that_yaml_takes_for_a_text_is_a_number():
    assert yaml.safe_load("1e-05") == "1e-05"
    block = parse_yaml("learning_rate: 1e-05\nbeta: 2.5E+2")
    assert create("hybridvae", block, Context()).config == (
        create("hybridvae", {"learning_rate": 0.00001, "beta": 250.0}, Context()).config
    )


def test_the_bag_is_the_linear_layer_on_a_dense_row():
    network, bag = a_network(), a_bag()
    dense = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0.0]])
    expected = dense @ network.embedding.weight + network.embedding_bias
    torch.testing.assert_close(network.embedding(bag.items, bag.offsets) + network.embedding_bias, expected)


def test_the_loss_is_the_dense_multinomial_likelihood():
    network, bag = a_network(), a_bag()
    query = torch.randn(2, 4)
    dense = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0.0]])
    expected = -(dense * torch.log_softmax(query @ network.item_vectors.T, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(network.reconstruction_loss(query, bag), expected)


def test_the_loss_asks_most_for_the_latest():
    network, bag = a_network(), a_bag()
    query = torch.randn(2, 4)
    weights = bag.targets_by_recency(1.0)
    total = 1 / 3 + 1 / 2 + 1
    expected_weights = torch.tensor([1 / total, 1.5 / total, 3 / total, 1])
    torch.testing.assert_close(weights, expected_weights)
    dense = torch.zeros(2, 6)
    dense[0, [0, 2, 5]], dense[1, 1] = expected_weights[:3], 1.0
    expected = -(dense * torch.log_softmax(query @ network.item_vectors.T, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(network.reconstruction_loss(query, bag, weights=weights), expected)
    assert bag.targets_by_recency(0.0) is None


def test_the_kl_is_that_of_torch():
    mu, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = torch.distributions.Normal(mu, torch.exp(0.5 * log_variance))
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1)).sum(dim=1).mean()
    torch.testing.assert_close(kl_divergence(mu, log_variance), expected)


def as_saved(vectors):
    return vectors.astype(np.float16).astype(np.float32)


def test_scores_are_the_frozen_matrix_times_the_projection():
    interactions = interactions_of(checkerboard())
    frozen = as_saved(interactions.item_vectors)
    model = fitted("hybridvae", interactions, epochs=3)
    network = model.network.eval()
    bag = Bag.of(interactions.positives[[0]], torch.device("cpu"))
    mu, _ = network.encode(bag)
    expected = (network.projection(mu) * network.scale @ torch.from_numpy(frozen).T).detach().numpy()
    np.testing.assert_allclose(model.scores(np.array([0])), expected, rtol=1e-5)
    assert np.array_equal(network.item_vectors.numpy(), frozen)
    for weights in network.parameters():
        assert torch.equal(weights, weights.half().float()), "a fit ends with what can be saved"
    assert "item_vectors" not in dict(network.named_parameters())


def test_layers_are_those_of_the_specification():
    network = a_network(Config(latent_dim=3, hidden_dims=(5, 7), dropout=0.4))
    block = ["LayerNorm", "GELU", "Dropout"]
    assert [type(layer).__name__ for layer in network.hidden] == [*block, "Linear", *block]
    assert isinstance(network.projection, torch.nn.Linear)


EVERY_PART = {
    "input_dropout": 0.3,
    "normalised_input": True,
    "text_in_encoder": True,
    "residual_rate": 0.05,
    "linear_dim": 2,
    "whitening": 0.5,
    "scale": 0.5,
    "decay_steps": 400,
    "target_recency": 0.5,
}


def every_part():
    return a_network(Config(latent_dim=3, hidden_dims=(5,), **EVERY_PART))


def test_with_every_part_the_loss_is_still_the_dense_multinomial_likelihood():
    network, bag = every_part().eval(), a_bag()
    torch.nn.init.normal_(network.residual)
    query, _, _ = network(bag)
    vectors = network.item_vectors + 0.05 * network.residual
    scores = query[:, :4] @ vectors.T + query[:, 4:] @ network.linear_out.T
    torch.testing.assert_close(query @ network.output_vectors().T, scores)
    dense = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0.0]])
    expected = -(dense * torch.log_softmax(scores, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(network.reconstruction_loss(query, bag), expected)


def test_the_linear_path_is_the_unit_history_times_two_matrices():
    network, bag = every_part().eval(), a_bag()
    linear = network(bag)[0][:, 4:]
    rows = network.linear_in.weight
    torch.testing.assert_close(linear, torch.stack([rows[[0, 2, 5]].sum(dim=0) / 3**0.5, rows[1]]))


def test_the_encoder_reads_the_mean_text_and_the_unit_history():
    network, bag = every_part().eval(), a_bag()
    network.hidden = torch.nn.Identity()
    weight, text, vectors = network.embedding.weight, network.text.weight, network.item_vectors
    entered = weight[[0, 2, 5]].sum(dim=0) / 3**0.5 + network.embedding_bias + text @ vectors[[0, 2, 5]].mean(dim=0)
    torch.testing.assert_close(network.encode(bag)[0][0], network.mu(entered))


def test_the_latest_count_most_for_encoder_and_linear_path():
    network, bag = a_network(Config(latent_dim=3, hidden_dims=(5,), recency=1.0, **EVERY_PART)).eval(), a_bag()
    rows, text, vectors = network.embedding.weight, network.text.weight, network.item_vectors
    counts = torch.tensor([1 / 3, 1 / 2, 1])
    unit, mean = counts / counts.norm(), counts / counts.sum()
    network.hidden = torch.nn.Identity()
    entered = unit @ rows[[0, 2, 5]] + network.embedding_bias + text @ (mean @ vectors[[0, 2, 5]])
    torch.testing.assert_close(network.encode(bag)[0][0], network.mu(entered))
    torch.testing.assert_close(network(bag)[0][0, 4:], unit @ network.linear_in.weight[[0, 2, 5]])


def test_the_scale_is_of_the_autoencoder_and_not_of_the_linear_path():
    network, bag = every_part().eval(), a_bag()
    halved, _, _ = network(bag)
    projected = network.projection(network.encode(bag)[0])
    torch.testing.assert_close(halved[:, :4], 0.5 * projected)
    network.scale.fill_(1.0)
    whole, _, _ = network(bag)
    torch.testing.assert_close(whole[:, :4], projected)
    assert torch.equal(whole[:, 4:], halved[:, 4:])


def test_the_scale_is_over_the_root_of_the_mean_length_of_the_histories():
    interactions = interactions_of([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])  # the mean is 3
    assert fitted("hybridvae", interactions, scale=1.5, epochs=1).network.scale.item() == pytest.approx(
        1.5 / 3**0.5, rel=1e-3
    )


def test_the_decoder_starts_at_the_text_and_learns_what_is_beside_it():
    interactions = interactions_of(checkerboard())
    torch.testing.assert_close(every_part().output_vectors()[:, :4], every_part().item_vectors)
    network = fitted("hybridvae", interactions, residual_rate=0.05, epochs=2).network
    assert np.array_equal(network.item_vectors.numpy(), as_saved(interactions.item_vectors))
    moved = (network.output_vectors() - network.item_vectors).abs().max().item()
    assert 0 < moved <= 0.05 * 2 * 0.003 * 1.001, "Adam moves R by the learning rate a step at most, at first"


def test_input_dropout_hides_items_in_training_alone():
    network = a_network(Config(latent_dim=3, hidden_dims=(5,), input_dropout=0.5))
    bag = Bag.of(sparse.csr_matrix(np.ones((1, 6), dtype=np.float32)), torch.device("cpu"))
    counts = torch.stack([network._read(bag).kept for _ in range(300)])
    assert set(counts.unique().tolist()) == {0.0, 2.0} and counts.mean().item() == pytest.approx(1, abs=0.1)
    assert network.eval()._read(bag).kept.tolist() == [1.0] * 6


def test_a_bag_of_chosen_items_by_hand():
    chosen = a_bag().only(torch.tensor([False, True, True, False]))
    assert chosen.items.tolist() == [2, 5] and chosen.offsets.tolist() == [0, 2, 2] and chosen.ages.tolist() == [2, 1]


@pytest.mark.parametrize("sparse_tables", [False, True])
@pytest.mark.parametrize("kept", [[2.0, 0, 2, 0], [0.0, 0, 0, 0]])
def test_what_input_dropout_hides_is_not_read_and_its_rows_have_no_gradient(kept, sparse_tables, monkeypatch):
    network, bag = a_network(Config(latent_dim=3, hidden_dims=(5,), **EVERY_PART | {"input_dropout": 0.5})), a_bag()
    network.set_sparse(sparse_tables)
    monkeypatch.setattr(F, "dropout", lambda counts, *_: torch.tensor(kept) if len(counts) == 4 else counts)
    network.hidden = torch.nn.Identity()
    hidden = torch.tensor([kept[:3], [kept[3], 0, 0]])
    rows = torch.tensor([[0, 2, 5], [1, 1, 1]])
    entered = torch.einsum("bn,bnh->bh", hidden / 3**0.5, network.embedding.weight[rows]) + network.embedding_bias
    mean = torch.einsum("bn,bnd->bd", hidden / 3, network.item_vectors[rows])
    mu, _ = network.encode(bag)
    torch.testing.assert_close(mu, network.mu(entered + mean @ network.text.weight.T))
    network(bag)[0].sum().backward()
    for table in (network.embedding.weight, network.linear_in.weight):
        found = table.grad.coalesce().indices()[0] if sparse_tables else table.grad.abs().sum(dim=1).nonzero()[:, 0]
        assert found.tolist() == [item for item, count in zip([0, 2, 5, 1], kept, strict=True) if count]


def test_the_drawn_softmax_estimates_the_whole_one():
    bag = Bag.of(histories_of([[1, 0, 1, 0, 0, 1, *[0] * 34], [0, 1, 0, 0, 0, 0, *[0] * 34]]), torch.device("cpu"))
    network = a_network(Config(latent_dim=3, hidden_dims=(5,), residual_rate=0.1), n_items=40).eval()
    warm = torch.arange(40)[torch.arange(40) != 9]
    query, _, _ = network(bag)
    among = [Alternatives.drawn(bag.items, warm[torch.randint(39, (12,))], 39, 40) for _ in range(3000)]
    for one in among[:20]:
        assert 9 not in one.items and {0, 1, 2, 5} <= set(one.items.tolist())
        assert one.place[one.items].tolist() == list(range(len(one.items)))
    scores = query @ network.output_vectors().T
    stands_for = torch.zeros(40)
    for one in among:
        stands_for[one.items] += one.log_weight.exp() / len(among)
    torch.testing.assert_close(stands_for[warm], torch.ones(39), rtol=0, atol=0.15)
    torch.testing.assert_close(stands_for[[0, 1, 2, 5]], torch.ones(4), rtol=1e-3, atol=0)
    one = among[0]
    dense = torch.zeros(2, 40)
    dense[0, [0, 2, 5]] = dense[1, 1] = 1
    weighted = scores[:, one.items] + one.log_weight
    expected = -(dense[:, one.items] * torch.log_softmax(weighted, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(network.reconstruction_loss(query, bag, one), expected)


@pytest.mark.parametrize("added", [None, torch.tensor([0.0, 3, -1, 0.5])])
def test_the_normaliser_and_its_gradients_are_those_of_torch(added):
    torch.manual_seed(0)
    operands = [torch.randn(3, 2, requires_grad=True), torch.randn(4, 2, requires_grad=True)]
    weights = torch.tensor([1.0, 2, 5])
    scores = operands[0] @ operands[1].T + (0 if added is None else added)
    expected = (weights * torch.logsumexp(scores, dim=1)).sum()
    value = log_normaliser(*operands, weights, added)
    torch.testing.assert_close(value, expected)
    found, wanted = (torch.autograd.grad(3 * result, operands) for result in (value, expected))
    torch.testing.assert_close(found, wanted)


def test_ease_stands_beside_the_autoencoder_in_z_scores(tmp_path):
    interactions = interactions_of(checkerboard())
    block = {"whitening": 0.5, "ease_regularization": 7.0, "ease_text_weight": 3.0, "ease_recency": 0.5, "epochs": 3}
    joined, alone = (fitted("hybridvae", interactions, ease_weight=weight, **block) for weight in (0.3, 0.0))
    ease = fitted("ease_text", interactions, regularization=7.0, text_weight=3.0, recency=0.5, whitening=0.5)
    users = np.arange(20)
    expected = zscore(alone.scores(users), axis=1) + 0.3 * zscore(ease.scores(users), axis=1)
    np.testing.assert_allclose(joined.scores(users), expected, rtol=1e-4, atol=1e-4)
    joined.save(tmp_path)
    again = load("hybridvae", tmp_path, interactions, Context(device="cpu"))
    assert np.array_equal(again.scores(users), joined.scores(users))
    elsewhere = load("hybridvae", tmp_path, interactions_of(np.ones((2, 20))), Context(device="cpu"))
    assert np.array_equal(elsewhere.scores_of(interactions.histories), joined.scores(users)), (
        "who is known is no matter"
    )
    nobody = histories_of([[0] * 20])
    assert np.isfinite(joined.scores_of(nobody)).all(), "who has no history has no deviation either"


def test_validation_chooses_the_weight_of_ease_and_a_second_fit_takes_it():
    interactions = interactions_of(checkerboard())

    class Likes:
        """A validation that likes one weight; it is asked once an epoch, and then for each weight."""

        def __init__(self, weight):
            self.weight, self.asked = weight, []

        def __call__(self, model):
            self.asked.append(model.weight)
            return -abs(model.weight - self.weight)

    for liked in (0.0, 0.4):
        likes = Likes(liked)
        model = create("hybridvae", {"ease_weight": None, "epochs": 2, "validate_every": 1}, Context(device="cpu"))
        model.fit(interactions, validation=likes)
        assert likes.asked == [0.1, 0.1, 0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
        assert model.chosen == {"epochs": 1, "ease_weight": liked}
        again = create("hybridvae", {"ease_weight": None}, Context(device="cpu"), chosen=model.chosen)
        assert again.weight == liked and again.config.epochs == 1
    given = create("hybridvae", {"ease_weight": 0.3}, Context(device="cpu"))
    assert given.weight == 0.3 and given.chosen == {}


def test_every_part_learns_and_is_saved(tmp_path):
    interactions = interactions_of(checkerboard())
    model = fitted("hybridvae", interactions, **EVERY_PART)
    scores = model.scores(np.arange(20))
    model.save(tmp_path)
    assert np.array_equal(
        load("hybridvae", tmp_path, interactions, Context(device="cpu")).scores(np.arange(20)), scores
    )
    scores[checkerboard() > 0] = -np.inf
    assert (scores.argmax(axis=1) == np.arange(20)).all()


def test_whitening_takes_the_mean_and_evens_out_the_directions():
    vectors = np.array([[3, 1], [3, -1], [-1, 1], [-1, -1]], dtype=np.float32)  # deviations 2 and 1 around (1, 0)
    assert whitened(vectors, 0.0) is vectors
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    np.testing.assert_allclose(whitened(vectors, 1.0), corners / 2**0.5, atol=1e-6)
    half = corners * [2**0.5, 1]  # deviation 2 divided by its root
    np.testing.assert_allclose(whitened(vectors, 0.5), half / 3**0.5, atol=1e-6)
    few = whitened(np.eye(3, 8, dtype=np.float32), 1.0)  # fewer items than directions
    assert np.isfinite(few).all() and np.linalg.norm(few, axis=1).mean() == pytest.approx(1)
    assert np.isfinite(whitened(np.ones((4, 2), dtype=np.float32), 1.0)).all()


def test_without_vectors_it_says_so():
    with pytest.raises(HybridVAEError, match="item vectors"):
        create("hybridvae", {}, Context(device="cpu")).fit(replace(interactions_of(checkerboard()), item_vectors=None))


def test_the_saved_configuration_is_the_block(tmp_path):
    model = fitted("hybridvae", interactions_of(checkerboard()), hidden_dims=[7, 5], beta=0.25, epochs=1)
    model.save(tmp_path)
    assert read_config(Config, tmp_path) == model.config
    assert model.config.hidden_dims == (7, 5) and model.config.beta == 0.25
