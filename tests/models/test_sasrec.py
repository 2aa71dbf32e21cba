"""SASRec: sequences by hand, attention and loss against PyTorch's own, text, cold items."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from boards import fitted, interactions_of
from scipy import sparse
from torch import nn
from torch.nn import functional as F

from hybridvae.errors import HybridVAEError
from hybridvae.models import Context, _softmax, create, sasrec
from hybridvae.models._softmax import softmax_loss

CPU = torch.device("cpu")
# Ages: 1 is the latest. User 0 chose items 2, 0, 3 in this order, user 1 nothing, user 2 item 1, user 3 items 3 and 0.
AGES = sparse.csr_matrix(np.array([[2, 0, 3, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 2]], dtype=np.float32))
STEPS = 12


def walks(*, forwards=True):
    """Users who go round a circle of items in their order of numbers, or against it, each from another start."""
    ages = np.zeros((STEPS, STEPS), dtype=np.float32)
    for start in range(STEPS):
        for step in range(5):
            ages[start, (start + (step if forwards else -step)) % STEPS] = 5 - step
    interactions = interactions_of(ages > 0)
    return replace(interactions, histories=sparse.csr_matrix(ages))


def test_sequences_have_the_latest_item_last():
    sequences = sasrec.Sequences.of(AGES, 50, CPU)
    assert sequences.items.tolist() == [2, 0, 3, 1, 3, 0]
    assert sequences.owners.tolist() == [0, 0, 0, 2, 3, 3]
    assert sequences.places.tolist() == [0, 1, 2, 0, 0, 1]
    assert sequences.from_end.tolist() == [2, 1, 0, 0, 1, 0]
    assert sequences.lengths.tolist() == [3, 0, 1, 2] and sequences.ends.tolist() == [3, 3, 4, 6]
    short = sasrec.Sequences.of(AGES, 2, CPU)
    assert short.items.tolist() == [0, 3, 1, 3, 0] and short.lengths.tolist() == [2, 0, 1, 2]


def test_what_follows_each_place_is_its_target():
    inputs, targets = sasrec.Sequences.of(AGES, 50, CPU).inputs_and_targets()
    assert inputs.items.tolist() == [2, 0, 3] and targets.tolist() == [0, 3, 0]
    assert inputs.owners.tolist() == [0, 0, 3] and inputs.places.tolist() == [0, 1, 0]
    assert inputs.lengths.tolist() == [2, 0, 0, 1]


@pytest.mark.parametrize("heads", [1, 2])
def test_blocks_are_right_one_user_at_a_time_with_the_attention_of_pytorch(heads):
    torch.manual_seed(0)
    config = sasrec.Config(embedding_dim=8, layers=2, heads=heads)
    network = sasrec.Network(config, 4, None).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    found = network(sasrec.Sequences.of(AGES, 50, CPU), network.output_vectors)
    ends = {0: (0, [2, 0, 3]), 2: (3, [1]), 3: (4, [3, 0])}
    for start, items in ends.values():
        states = (network.items[items] * 8**0.5 + network.places[: len(items)].flip(0))[None]
        for block in network.blocks:
            judge = nn.MultiheadAttention(8, heads, batch_first=True).eval()
            judge.in_proj_weight, judge.in_proj_bias = block.asks.weight, block.asks.bias
            judge.out_proj = block.joins
            later = torch.ones(len(items), len(items), dtype=torch.bool).triu(1)
            attended, _ = judge(block.before_attention(states), states, states, attn_mask=later, need_weights=False)
            states = block.before_layer(states + attended)
            states = states + block.layer[3](block.layer[0](states).relu())
        expected = network.norm(states[0])
        torch.testing.assert_close(found[start : start + len(items)], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_and_its_gradients_are_those_of_pytorch(smoothing, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(_softmax, "_LEAST_ROWS", 3)  # queries at a time
    monkeypatch.setattr(_softmax, "_SCORES", 0)
    queries, vectors = torch.randn(7, 5, requires_grad=True), torch.randn(11, 5, requires_grad=True)
    targets = torch.randint(11, (7,))
    found = softmax_loss(queries, vectors, targets, smoothing)
    expected = F.cross_entropy(queries @ vectors.T, targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found / 3, (queries, vectors))
    for gradient, other in zip(gradients, torch.autograd.grad(expected / 3, (queries, vectors)), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)


def test_no_place_sees_what_comes_after_it():
    network = sasrec.Network(sasrec.Config(embedding_dim=8), 4, None).eval()
    other = AGES.toarray()
    other[0, 3], other[0, 1] = 0, 1  # user 0 chose item 1 last, and not item 3
    both = (sasrec.Sequences.of(ages, 50, CPU) for ages in (AGES, sparse.csr_matrix(other)))
    first, second = (network(sequences, network.output_vectors) for sequences in both)
    assert torch.equal(first[:2], second[:2]) and not torch.equal(first[2], second[2])


@pytest.mark.parametrize("forwards", [True, False])
@pytest.mark.parametrize("name", ["sasrec", "sasrec_text"])
def test_the_next_step_of_a_walk_is_foretold(name, forwards):
    interactions = walks(forwards=forwards)
    model = fitted(name, interactions, epochs=150, dropout=0.0, learning_rate=0.01, batch_size=4)
    scores = model.scores(np.arange(STEPS))
    scores[interactions.positives.toarray() > 0] = -np.inf
    following = (np.arange(STEPS) + (5 if forwards else -5)) % STEPS
    assert (scores.argmax(axis=1) == following).mean() > 0.9


def test_of_a_history_that_is_too_long_the_latest_items_count():
    model = fitted("sasrec", walks(), epochs=150, dropout=0.0, learning_rate=0.01, batch_size=4, max_length=2)
    assert model.network.places.shape[0] == 2
    scores = model.scores_of(sparse.csr_matrix(np.arange(STEPS, 0, -1, dtype=np.float32)[None]))  # all, in their order
    assert scores.argmax() == 0, "after the last the first"


def test_text_is_added_to_the_learned_vectors_and_changes_them():
    network = sasrec.Network(sasrec.Config(embedding_dim=2), 3, torch.eye(3))
    with torch.no_grad():
        network.items.copy_(torch.zeros(3, 2))
        network.text.weight.copy_(torch.tensor([[1.0, 2, 3], [4, 5, 6]]))
    assert network.output_vectors.tolist() == [[1, 4], [2, 5], [3, 6]]
    with pytest.raises(HybridVAEError, match="sasrec_text reads text embeddings"):
        fitted("sasrec_text", replace(walks(), item_vectors=None))


def test_a_fit_learns_nothing_of_cold_items():
    board = np.random.default_rng(0).random((20, 12)) < 0.4
    board[:, 7] = False
    warm = interactions_of(board)
    cold = replace(warm, cold=np.where(np.arange(12) == 7, 2, 0))
    apart = [fitted("sasrec", data, epochs=30, learning_rate=0.01).scores(np.arange(20)) for data in (warm, cold)]
    assert apart[0][:, 7].mean() < apart[1][:, 7].mean()  # as a mere alternative it is pushed down


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(HybridVAEError, match="embedding_dim 64 cannot be divided by heads 3"):
        create("sasrec", {"heads": 3}, Context())
