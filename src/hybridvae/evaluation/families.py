"""Which two models answer the same question without and with the text of items: one pair a family."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Two models, named as in params.yaml, of which the second reads the item vectors and the first does not."""

    name: str
    without: str
    with_text: str


FAMILIES = (
    Family("linear", "ease", "ease_text"),
    Family("sequential", "sasrec", "sasrec_text"),
    Family("graph", "lightgcn", "alpharec"),
    Family("autoencoder", "multvae", "hybridvae"),
)
_TEXT_ALONE = "content"  # reads nothing else, so it has no partner


def reads_text(model: str) -> bool:
    """Whether a model is known to read the text of items."""
    return model == _TEXT_ALONE or any(model == family.with_text for family in FAMILIES)
