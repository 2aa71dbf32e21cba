"""A small network and the bag of histories it reads."""

import torch
from boards import histories_of

from hybridvae.models._vae import Bag
from hybridvae.models.hybridvae import Config, Network


def a_network(config=None, n_items=6):
    torch.manual_seed(0)
    return Network(config or Config(latent_dim=3, hidden_dims=(5,)), torch.randn(n_items, 4))


def a_bag():
    return Bag.of(histories_of([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0]]), torch.device("cpu"))  # ages 3, 2, 1 and 1
