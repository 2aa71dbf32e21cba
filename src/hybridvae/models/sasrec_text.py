"""SASRec with text: `sasrec` whose item vectors are the learned ones plus projected text vectors."""

from dataclasses import dataclass

from hybridvae.config import Share
from hybridvae.models import sasrec


@dataclass(frozen=True)
class Config(sasrec.Config):
    """The block `sasrec_text` of params.yaml."""

    whitening: Share = 0.0  # of the text vectors: from 0, as they are, to 1, equal variance in all directions


class Model(sasrec.Model):
    """The recommender around the network with text."""

    name = "sasrec_text"
    config_type = Config
    needs_vectors = True
