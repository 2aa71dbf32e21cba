"""What every model must do, and what HybridVAE in particular promises."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from scipy import sparse

from hybridvae.config import read_config
from hybridvae.data.interactions import Interactions, by_recency
from hybridvae.device import choose_device
from hybridvae.errors import HybridVAEError
from hybridvae.files import parse_yaml
from hybridvae.models import Context, FitState, create, load
from hybridvae.models._training import state_folder
from hybridvae.models._vae import Bag, kl_divergence
from hybridvae.models.hybridvae import Config, Network, whitened

ALL = sorted(path.stem for path in (ROOT / "src/hybridvae/models").glob("[!_]*.py"))
# What suits twenty users better than the defaults; a new model needs no entry unless its defaults do not.
BLOCKS = {
    "hybridvae": {"latent_dim": 8, "hidden_dims": [32], "dropout": 0.0, "beta": 0.01, "batch_size": 20, "epochs": 60},
    "multvae": {
        "latent_dim": 8,
        "hidden_dim": 32,
        "beta": 0.01,
        "batch_size": 20,
        "epochs": 150,
        "learning_rate": 0.01,
    },
    "ials": {"regularization": 0.1},
    "lightgcn": {"embedding_dim": 16, "batch_size": 64, "epochs": 60, "learning_rate": 0.01},
}


def histories_of(positives):
    """Ages for a 0/1 matrix: of a row's items the last column is the latest."""
    matrix = sparse.csr_matrix(positives, dtype=np.float32)
    ages = np.repeat(matrix.indptr[1:], np.diff(matrix.indptr)) - np.arange(matrix.nnz)
    return sparse.csr_matrix((ages.astype("f"), matrix.indices, matrix.indptr), shape=matrix.shape)


def interactions_of(positives, *, seed=0):
    """Interactions around a 0/1 matrix; the vectors of items tell even from odd, with noise."""
    matrix = sparse.csr_matrix(np.asarray(positives, dtype=np.float32))
    n_users, n_items = matrix.shape
    random = np.random.default_rng(seed)
    side = np.stack([np.arange(n_items) % 2, 1 - np.arange(n_items) % 2], axis=1)
    vectors = np.hstack([side, 0.3 * random.normal(size=(n_items, 14))])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = np.array([str(n) for n in range(max(n_users, n_items))], dtype=object)
    return Interactions(
        matrix,
        histories_of(matrix),
        matrix * 5,
        names[:n_users],
        names[:n_items],
        names[:n_items],
        np.zeros(n_items, int),
        vectors.astype("f"),
    )


def checkerboard(size=20):
    """Even users like even items and odd users odd ones, but for the diagonal, which is withheld."""
    board = (np.add.outer(np.arange(size), np.arange(size)) % 2 == 0).astype(np.float32)
    np.fill_diagonal(board, 0)
    return board


def fitted(name, interactions, **changes):
    return create(name, BLOCKS.get(name, {}) | changes, Context(seed=1, device="cpu")).fit(interactions)


@pytest.mark.parametrize("name", [name for name in ALL if name != "popularity"])
def test_the_withheld_diagonal_is_recommended(name):
    board = checkerboard()
    ratings = 5 * board + (1 - board)  # what is not liked is disliked, for models that read ratings
    np.fill_diagonal(ratings, 0)
    interactions = replace(interactions_of(board), ratings=sparse.csr_matrix(ratings.astype("f")))
    scores = fitted(name, interactions).scores(np.arange(20))
    scores[board > 0] = -np.inf
    assert (scores.argmax(axis=1) == np.arange(20)).all()


@pytest.mark.parametrize("name", ALL)
def test_a_batch_is_the_same_as_one_by_one(name):
    model = fitted(name, interactions_of(checkerboard()))
    users = np.array([3, 0, 7])
    together = model.scores(users)
    assert together.dtype == np.float32 and together.shape == (3, 20)
    for row, user in enumerate(users):
        np.testing.assert_allclose(together[row], model.scores(np.array([user]))[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_scores_are_equal_and_no_history_is_stored(name, tmp_path):
    interactions = interactions_of(checkerboard())
    model = fitted(name, interactions)
    model.save(tmp_path)
    again = load(name, tmp_path, interactions, Context(device="cpu"))
    assert np.array_equal(model.scores(np.arange(20)), again.scores(np.arange(20)))
    assert {path.suffix for path in tmp_path.iterdir()} <= {".safetensors", ".json"}


@pytest.mark.parametrize("name", ALL)
def test_a_user_without_history_gets_finite_scores(name):
    board = checkerboard()
    board[4] = 0
    assert np.isfinite(fitted(name, interactions_of(board)).scores(np.array([4, 5]))).all()


@pytest.mark.parametrize("name", ALL)
def test_a_model_that_folds_in_scores_a_new_history_like_a_known_one(name):
    interactions = interactions_of(checkerboard())
    model = fitted(name, interactions)
    if not model.folds_in:
        assert not hasattr(model, "scores_of")
        return
    np.testing.assert_allclose(model.scores_of(interactions.histories[[2]]), model.scores(np.array([2])), atol=1e-6)


@pytest.mark.parametrize("name", ["content", "itemknn", "ease", "ials", "multvae", "hybridvae"])
def test_recency_asks_for_the_order_of_a_history(name, tmp_path):
    interactions = interactions_of(np.random.default_rng(0).random((20, 20)) < 0.4)
    model = fitted(name, interactions, recency=1.0)
    latest, first = (interactions.histories[[2]] for _ in range(2))
    first.data = first.data[::-1].copy()
    unordered = interactions.positives[[2]]
    assert not np.allclose(model.scores_of(latest), model.scores_of(first), rtol=1e-3)
    plain = fitted(name, interactions)
    np.testing.assert_allclose(model.scores_of(unordered), plain.scores_of(unordered), rtol=1e-5)
    np.testing.assert_allclose(plain.scores_of(latest), plain.scores_of(first), rtol=1e-4, atol=1e-6)
    model.save(tmp_path)
    again = load(name, tmp_path, interactions, Context(device="cpu"))
    assert np.array_equal(again.scores(np.array([2])), model.scores(np.array([2])))


def test_what_an_item_counts_by_its_age():
    weights = by_recency(sparse.csr_matrix([[0, 4.0, 1], [2, 0, 0]]), 0.5)
    assert weights.toarray() == pytest.approx(np.array([[0, 0.5, 1], [2**-0.5, 0, 0]]))
    assert (by_recency(weights, 0.0).data == 1).all()


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_bytes(name):
    interactions = interactions_of(checkerboard())
    first, second = (fitted(name, interactions).scores(np.arange(20)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("name", ALL)
def test_unknown_keys_are_refused(name):
    with pytest.raises(HybridVAEError, match=rf"{name}\.colour is not a parameter"):
        create(name, {"colour": "blue"}, Context())


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"latent_dim": 0}, "at least 1"),
        ({"latent_dim": 6.5}, "latent_dim is 6.5: it must be a whole number"),
        ({"learning_rate": "1e-3"}, "must be a number"),
        ({"hidden_dims": 512}, "must be a list"),
        ({"hidden_dims": []}, "there must be a hidden layer"),
        (5, "hybridvae is 5: it must be a block of parameters"),
        ({"input_dropout": -0.1}, "input_dropout must lie"),
        ({"linear_dim": -1}, "linear_dim and linear_decay must not be negative"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"whitening": 1.5}, r"whitening must lie in \[0, 1\]"),
        ({"decay_steps": -1}, "decay_steps must not be negative"),
        ({"residual_rate": 0.0}, "residual_rate must be positive"),
        ({"decoder": "thawed"}, "use one of frozen, residual"),
        ({"projection": "cubic"}, "use one of linear, two_layer"),
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


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(HybridVAEError, match=", ".join(ALL)):
        create("magic", {}, Context())


def test_popularity_counts_positives():
    assert fitted("popularity", interactions_of([[1, 0, 1], [1, 0, 0]])).scores(np.array([0])).tolist() == [[2, 0, 1]]


def test_itemknn_by_hand():
    # Items 0 and 1 share one of their 2 and 1 users: 1 / sqrt(2); items 0 and 2 share none.
    scores = fitted("itemknn", interactions_of([[1, 1, 0], [1, 0, 0], [0, 0, 1]])).scores(np.array([1]))
    np.testing.assert_allclose(scores, [[0, 1 / np.sqrt(2), 0]], rtol=1e-6)
    shrunk = fitted("itemknn", interactions_of([[1, 1, 0], [1, 0, 0], [0, 0, 1]]), shrink=1.0)
    np.testing.assert_allclose(shrunk.scores(np.array([1])), [[0, 1 / (1 + np.sqrt(2)), 0]], rtol=1e-6)


def test_itemknn_keeps_k_neighbours_of_each_item():
    model = fitted("itemknn", interactions_of(np.ones((4, 9))), k=3)
    assert np.diff(model.similarity.indptr).tolist() == [3] * 9


def test_itemknn_neighbours_of_the_history_or_of_the_scored_item():
    # Cosines: items 0 and 1 share all users (1), 2 shares one of its two with each (1 / 2); with k = 1
    # item 2 names item 0, and neither 0 nor 1 names item 2.
    board = [[1, 1, 0], [1, 1, 1], [0, 0, 1]]
    history = fitted("itemknn", interactions_of(board), k=1)
    scored = fitted("itemknn", interactions_of(board), k=1, neighbours_of="scored")
    np.testing.assert_allclose(history.scores_of(sparse.csr_matrix([[0, 0, 1.0]])), [[0.5, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(scored.scores_of(sparse.csr_matrix([[0, 0, 1.0]])), [[0, 0, 0]])
    np.testing.assert_allclose(scored.scores_of(sparse.csr_matrix([[1.0, 0, 0]])), [[0, 1, 0.5]], rtol=1e-6)


# --- HybridVAE -----------------------------------------------------------------------------------


def a_network(config=None, n_items=6):
    torch.manual_seed(0)
    return Network(config or Config(latent_dim=3, hidden_dims=(5,)), torch.randn(n_items, 4))


def a_bag():
    return Bag.of(histories_of([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0]]), torch.device("cpu"))  # ages 3, 2, 1 and 1


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
    expected = (network.projection(mu) @ torch.from_numpy(frozen).T).detach().numpy()
    np.testing.assert_allclose(model.scores(np.array([0])), expected, rtol=1e-5)
    assert np.array_equal(network.item_vectors.numpy(), frozen)
    for weights in network.parameters():
        assert torch.equal(weights, weights.half().float()), "a fit ends with what can be saved"
    assert "item_vectors" not in dict(network.named_parameters())


def test_layers_are_those_of_the_specification():
    network = a_network(Config(latent_dim=3, hidden_dims=(5, 7), dropout=0.4))
    block = ["LayerNorm", "GELU", "Dropout"]
    assert [type(layer).__name__ for layer in network.hidden] == [*block, "Linear", *block]
    assert isinstance(network.projection, torch.nn.Linear) and not network.log_scale.requires_grad
    two = a_network(Config(projection="two_layer", learned_scale=True))
    assert len(two.projection) == 3 and two.log_scale.requires_grad


EVERY_PART = {
    "input_dropout": 0.3,
    "normalised_input": True,
    "text_in_encoder": True,
    "decoder": "residual",
    "item_bias": True,
    "linear_dim": 2,
    "linear_decay": 0.1,
    "whitening": 0.5,
    "scale": 0.5,
    "scale_by_length": True,
    "decay_steps": 400,
    "target_recency": 0.5,
}


def every_part():
    return a_network(Config(latent_dim=3, hidden_dims=(5,), **EVERY_PART))


def test_with_every_part_the_loss_is_still_the_dense_multinomial_likelihood():
    network, bag = every_part().eval(), a_bag()
    torch.nn.init.normal_(network.residual)
    torch.nn.init.normal_(network.output_bias)
    query, _, _ = network(bag)
    vectors = network.item_vectors + 0.05 * network.residual
    scores = query[:, :4] @ vectors.T + query[:, 4:] @ network.linear_out.T + network.output_bias
    torch.testing.assert_close(network.decode(query), scores)
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
    torch.nn.init.zeros_(network.log_scale)
    whole, _, _ = network(bag)
    torch.testing.assert_close(whole[:, :4], projected)
    assert torch.equal(whole[:, 4:], halved[:, 4:])


def test_the_scale_is_over_the_root_of_the_mean_length_of_the_histories():
    interactions = interactions_of([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])  # the mean is 3
    for scale_by_length, expected in ((False, 1.5), (True, 1.5 / 3**0.5)):
        network = fitted("hybridvae", interactions, scale=1.5, scale_by_length=scale_by_length, epochs=1).network
        assert network.log_scale.exp().item() == pytest.approx(expected, rel=1e-3)


def test_the_decoder_starts_at_the_text_and_learns_what_is_beside_it():
    interactions = interactions_of(checkerboard())
    torch.testing.assert_close(every_part().output_vectors[:, :4], every_part().item_vectors)
    network = fitted("hybridvae", interactions, decoder="residual", epochs=2).network
    assert np.array_equal(network.item_vectors.numpy(), as_saved(interactions.item_vectors))
    moved = (network.output_vectors - network.item_vectors).abs().max().item()
    assert 0 < moved <= 0.05 * 2 * 0.003 * 1.001, "Adam moves R by the learning rate a step at most, at first"


def test_input_dropout_hides_items_in_training_alone():
    network = a_network(Config(latent_dim=3, hidden_dims=(5,), input_dropout=0.5))
    bag = Bag.of(sparse.csr_matrix(np.ones((1, 6), dtype=np.float32)), torch.device("cpu"))
    seen = torch.stack([network._history(bag)[1] for _ in range(300)])
    assert set(seen.unique().tolist()) == {0.0, 2.0} and seen.mean().item() == pytest.approx(1, abs=0.1)
    assert network.eval()._history(bag)[1].tolist() == [1.0] * 6


def test_half_precision_is_close_and_used_in_training_alone():
    network = a_network(Config(latent_dim=3, hidden_dims=(5,), precision="bfloat16"))
    query = torch.randn(2, 4)
    whole = query @ network.item_vectors.T
    half = network.decode(query)
    assert half.dtype == torch.float32 and not torch.equal(half, whole)
    torch.testing.assert_close(half, whole, rtol=0.02, atol=0.02)
    assert torch.equal(network.eval().decode(query), whole)


def test_automatic_precision_asks_the_processor(monkeypatch):
    for capabilities, half in (({"avx2": True, "avx512_bf16": False}, False), ({"avx512_bf16": True}, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        network = a_network(Config(latent_dim=3, hidden_dims=(5,), precision="auto"))
        query = torch.randn(2, 4)
        assert torch.equal(network.decode(query), query @ network.item_vectors.T) != half


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


def test_text_that_is_not_there_is_near_to_nothing():
    interactions = interactions_of(np.eye(30))
    vectors = np.random.default_rng(0).normal(size=(30, 384)).astype("f")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[-1] = vectors[:-1].mean(axis=0, dtype=np.float64)  # as embed_texts gives an item without text
    model = create("content", {"centred": True}, Context()).fit(replace(interactions, item_vectors=vectors))
    assert not model.scores(np.array([29])).any()
    scores = model.scores(np.array([0]))[0]
    assert scores[0] == pytest.approx(1) and scores[29] == 0 and np.count_nonzero(scores) == 29


def test_a_catalogue_beyond_the_memory_is_refused_in_words(monkeypatch):
    monkeypatch.setattr("hybridvae.models.ease._memory", lambda: 1000)
    with pytest.raises(HybridVAEError, match="ease needs a dense matrix of all items with all items"):
        fitted("ease", interactions_of(checkerboard()))


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


def test_without_vectors_it_says_so():
    with pytest.raises(HybridVAEError, match="item vectors"):
        create("hybridvae", {}, Context(device="cpu")).fit(replace(interactions_of(checkerboard()), item_vectors=None))


def test_a_diverging_loss_says_what_to_do():
    with pytest.raises(HybridVAEError, match="learning_rate"):
        fitted("hybridvae", interactions_of(checkerboard()), learning_rate=1e30, beta=10.0)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(HybridVAEError, match="abacus"):
        choose_device("abacus")
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}


def test_the_saved_configuration_is_the_block(tmp_path):
    model = fitted("hybridvae", interactions_of(checkerboard()), hidden_dims=[7, 5], beta=0.25, epochs=1)
    model.save(tmp_path)
    assert read_config(Config, tmp_path) == model.config
    assert model.config.hidden_dims == (7, 5) and model.config.beta == 0.25
