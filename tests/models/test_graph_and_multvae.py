"""LightGCN, AlphaRec and Mult-VAE against dense computations of their papers' formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from boards import checkerboard, fitted, interactions_of
from networks import a_bag, a_network
from scipy import sparse

from hybridvae.errors import HybridVAEError
from hybridvae.models import Context, alpharec, create, lightgcn, multvae
from hybridvae.models._graph import adjacency
from hybridvae.models._vae import Alternatives

BOARD = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=np.float32)


def dense_adjacency(board):
    n_users, n_items = board.shape
    graph = np.zeros((n_users + n_items, n_users + n_items))
    graph[:n_users, n_users:], graph[n_users:, :n_users] = board, board.T
    degrees = np.maximum(graph.sum(axis=1), 1)
    return graph / np.sqrt(degrees[:, None] * degrees)


def test_adjacency_by_hand():
    found = adjacency(sparse.csr_matrix(BOARD)).toarray()
    np.testing.assert_allclose(found, dense_adjacency(BOARD), rtol=1e-6)
    assert found[0, 3] == pytest.approx(1 / np.sqrt(2))  # user 0 has two items, item 0 one user
    assert found[0, 4] == pytest.approx(1 / 2)


def test_propagation_and_its_gradient_are_those_of_the_dense_formula():
    config = lightgcn.Config(embedding_dim=5, layers=3)
    network = lightgcn.Network(sparse.csr_matrix(BOARD), config)
    weights = torch.randn(7, 5)
    (network() * weights).sum().backward()

    ego = network.ego.detach().clone().requires_grad_()
    adjacency = torch.from_numpy(dense_adjacency(BOARD).astype("f"))
    mean = sum(torch.linalg.matrix_power(adjacency, power) @ ego for power in range(4)) / 4
    (mean * weights).sum().backward()
    torch.testing.assert_close(network(), mean)
    torch.testing.assert_close(network.ego.grad, ego.grad)


def test_the_loss_is_bpr_with_l2_of_the_ego_embeddings():
    model = create("lightgcn", {"embedding_dim": 5, "regularization": 0.3}, Context(device="cpu"))
    model.network = lightgcn.Network(sparse.csr_matrix(BOARD), model.config)
    rows = torch.tensor([[0, 1], [3, 5], [5, 3]])  # users 0 and 1, items 0 and 2, 2 and 0
    final, ego = model.network().detach().double(), model.network.ego.detach().double()
    expected = 0.0
    for user, liked, disliked in rows.T.tolist():
        margin = final[user] @ final[liked] - final[user] @ final[disliked]
        expected += -torch.log(torch.sigmoid(margin))
        expected += 0.3 * sum(ego[node] @ ego[node] for node in (user, liked, disliked)) / 2
    assert model._loss(rows).item() == pytest.approx(float(expected) / 2, rel=1e-5)


def dense_alpharec(network, board, layers):
    """Users and items of length 1, by the dense formulas of the paper."""
    degrees = np.maximum(board.sum(axis=1, keepdims=True), 1)
    text = torch.cat([torch.from_numpy(board / degrees) @ network.item_vectors, network.item_vectors])
    nodes = network.second(torch.nn.functional.leaky_relu(network.first(text)))
    # A user without items is a mean of nothing: the first layer's bias is no part of it.
    nodes[: len(board)][board.sum(axis=1) == 0] = network.second(torch.zeros(network.second.in_features))
    graph = torch.from_numpy(dense_adjacency(board).astype("f"))
    summed = sum(torch.linalg.matrix_power(graph, power) @ nodes for power in range(layers + 1))
    unit = torch.nn.functional.normalize(summed)
    return unit[: len(board)], unit[len(board) :]


def alpharec_network(layers=2):
    torch.manual_seed(0)
    config = alpharec.Config(hidden_dim=6, embedding_dim=5, layers=layers)
    return alpharec.Network(sparse.csr_matrix(BOARD), torch.randn(4, 7), config)


def test_alpharec_and_its_gradient_are_those_of_the_dense_formula():
    network = alpharec_network()
    weights = torch.randn(7, 5)
    (torch.cat(network()) * weights).sum().backward()
    found = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    expected = torch.cat(dense_alpharec(network, BOARD, 2))
    torch.testing.assert_close(torch.cat(network()), expected)
    (expected * weights).sum().backward()
    for gradient, parameter in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_loss_of_alpharec_is_infonce_over_the_pool():
    model = create("alpharec", {"embedding_dim": 5, "hidden_dim": 6, "temperature": 0.5}, Context(device="cpu"))
    model.network = alpharec_network()
    users, items = model.network()
    cosines = users[[0, 1]] @ items[[0, 2, 3]].T / 0.5
    expected = -torch.log_softmax(cosines, dim=1)[[0, 1], [0, 1]].mean()  # user 0 with item 0, user 1 with item 2
    found = model._loss(torch.tensor([0, 1]), torch.tensor([0, 2, 3]), torch.tensor([0, 1]))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("negatives", [0, 3])
def test_alpharec_knows_a_user_by_the_history_as_the_graph_does(layers, negatives):
    interactions = interactions_of(np.random.default_rng(0).random((20, 20)) < 0.4)
    model = fitted("alpharec", interactions, epochs=3, layers=layers, negatives=negatives, batch_size=50)
    users, items = dense_alpharec(model.network, interactions.positives.toarray(), layers)
    np.testing.assert_allclose(model.scores(np.arange(20)), (users @ items.T).detach().numpy(), atol=1e-5)
    with pytest.raises(HybridVAEError, match="alpharec reads text embeddings: fit it with item vectors"):
        fitted("alpharec", replace(interactions, item_vectors=None))


def test_negatives_are_neither_positives_nor_cold():
    interactions = replace(interactions_of(checkerboard()), cold=np.where(np.arange(20) == 1, 2, 0))
    board = checkerboard()
    board[:, 1] = 0  # nobody knows item 1
    interactions = replace(interactions, positives=sparse.csr_matrix(board))
    negatives = lightgcn.Negatives(interactions)
    users = np.tile(np.arange(20), 200)
    drawn = negatives.draw(users, np.random.default_rng(0))
    assert (board[users, drawn] == 0).all() and 1 not in drawn
    assert len(np.unique(drawn)) == 19


def test_cold_items_stay_out_of_the_softmax():
    network, bag = a_network(), a_bag()
    query = torch.randn(2, 4)
    warm = Alternatives.of(torch.tensor([0, 1, 2, 5]), 6)
    dense = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0.0]])[:, [0, 1, 2, 5]]
    warm_scores = (query @ network.item_vectors.T)[:, [0, 1, 2, 5]]
    expected = -(dense * torch.log_softmax(warm_scores, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(network.reconstruction_loss(query, bag, warm), expected)


@pytest.mark.parametrize("name", ["multvae", "hybridvae"])
def test_a_fit_learns_nothing_of_cold_items(name):
    board = checkerboard()
    board[:, 7] = 0
    warm = interactions_of(board)
    cold = replace(warm, cold=np.where(np.arange(20) == 7, 2, 0))
    apart = [fitted(name, data, epochs=8).scores(np.array([1]))[0, 7] for data in (warm, cold)]
    assert apart[0] < apart[1]  # as a mere alternative it is pushed down


def test_multvae_is_the_dense_network_of_the_paper():
    torch.manual_seed(0)
    network = multvae.Network(multvae.Config(latent_dim=3, hidden_dim=5), n_items=6).eval()
    dense = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0.0]])
    unit = dense / dense.norm(dim=1, keepdim=True)
    hidden = torch.tanh(unit @ network.embedding.weight + network.embedding_bias)
    query, mu, _ = network(a_bag())
    torch.testing.assert_close(mu, network.mu(hidden))
    with torch.no_grad():
        assert not network.output[:, -1].any(), "the bias, which starts at zero"
        network.output[:, -1] = torch.randn(6)
    expected = torch.tanh(network.decoder(mu)) @ network.output[:, :-1].T + network.output[:, -1]
    torch.testing.assert_close(query @ network.output_vectors().T, expected)
    likelihood = -(dense * torch.log_softmax(expected, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(network.reconstruction_loss(query, a_bag()), likelihood)


def test_input_dropout_hides_items_in_training_alone():
    network = multvae.Network(multvae.Config(input_dropout=0.9), n_items=6)
    means = [network.train().encode(a_bag())[0] for _ in range(5)]
    assert any(not torch.equal(means[0], other) for other in means)
    network.eval()
    assert torch.equal(network.encode(a_bag())[0], network.encode(a_bag())[0])
