"""EASE with text: the closed form of `ease` on interactions and on the item vectors T (I, D), in one of three forms.

- collective: the text is D further rows of the matrix of interactions, X' = [X; sqrt(w) T'], so that the Gram matrix is
  X'X + w T T' (Jeunen, Van Balen & Goethals 2020, "Closed-Form Models for Collaborative Filtering with
  Side-Information", CEASE);
- additive: B = B_X + w B_T, where B_T is EASE on the text alone (the same paper, Add-EASE, whose weights add up to 1);
- cosine: X B_X + w cos(mean vector of the history, vector of the item), for texts as long and as mixed as reviews.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hybridvae.arrays import FloatArray
from hybridvae.config import NotNegative, Positive, Share
from hybridvae.data.interactions import Interactions, by_recency
from hybridvae.errors import BadDataError
from hybridvae.memory import Needs, check_memory
from hybridvae.models import ease
from hybridvae.models._base import OnEpoch, Validation
from hybridvae.models._text import whitened


@dataclass(frozen=True)
class Config(ease.Config):
    """The block `ease_text` of params.yaml."""

    form: Literal["collective", "additive", "cosine"] = "collective"
    text_weight: NotNegative = 20.0  # w, which means another thing in each form
    text_regularization: Positive = 1.0  # lambda of B_T (additive)
    whitening: Share = 1.0  # of the text vectors: from 0, as they are, to 1, equal variance in all directions


class Model(ease.Model):
    """EASE, with the text in its Gram matrix or beside it.

    Beside it, a history x of vectors `text` (I, D) adds w (x text) `answers`' to the scores of the items, less w
    `own` (I,) at those in x, since B_T has no diagonal.
    """

    name = "ease_text"
    config_type = Config
    needs_vectors = True
    if_singular = "raise ease_text.regularization"

    text: FloatArray | None = None
    answers: FloatArray
    own: FloatArray

    def needs(self, interactions: Interactions) -> Needs:
        """As EASE's, and the vectors in double precision."""
        return {**super().needs(interactions), "the item vectors": 24 * interactions.n_items * interactions.text_dim}

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """As EASE.

        Raises:
            BadDataError: there are no item vectors.
            NotEnoughMemoryError, BadParameterError: as EASE.
        """
        if interactions.item_vectors is None:
            raise BadDataError("ease_text reads text embeddings: fit it with item vectors.")
        check_memory(self.name, self.needs(interactions), self.if_too_large)  # before the vectors are whitened
        vectors = whitened(interactions.item_vectors, self.config.whitening)
        if self.config.form == "additive":
            self.text, (self.answers, self.own) = vectors, closed_form(vectors, self.config.text_regularization)
        elif self.config.form == "cosine":
            unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
            self.text, self.answers, self.own = vectors, unit, np.zeros(len(vectors), dtype=np.float32)
        return super().fit(replace(interactions, item_vectors=vectors))

    def _gram(self, interactions: Interactions) -> npt.NDArray[np.float64]:
        """X'X + w T T' in the collective form, else X'X (I, I), by columns; of the former the upper triangle alone."""
        from scipy.linalg.blas import dsyrk

        gram, vectors = super()._gram(interactions), interactions.item_vectors
        if self.config.form == "collective" and vectors is not None:
            vectors = vectors.astype(np.float64)
            gram = dsyrk(self.config.text_weight, vectors, beta=1.0, c=gram, overwrite_c=True)
        return gram

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I)."""
        scores = super().scores_of(histories)
        if self.text is not None and self.config.text_weight:
            counts = by_recency(histories, self.config.recency)
            asked: FloatArray = counts @ self.text  # (B, D)
            if self.config.form == "cosine":
                asked /= np.maximum(np.linalg.norm(asked, axis=1, keepdims=True), np.finfo(np.float32).tiny)
            scores += self.config.text_weight * (asked @ self.answers.T)
            users = np.repeat(np.arange(len(scores)), np.diff(counts.indptr))
            scores[users, counts.indices] -= self.config.text_weight * counts.data * self.own[counts.indices]
        return scores

    def arrays(self) -> dict[str, FloatArray]:
        """What is saved of the fit: as EASE's, and the factors of the form that is beside it."""
        beside = {} if self.text is None else {"text": self.text, "answers": self.answers, "own": self.own}
        return super().arrays() | beside

    def take(self, arrays: dict[str, FloatArray], interactions: Interactions) -> None:
        """Take over what `arrays` gave."""
        super().take(arrays, interactions)
        if "text" in arrays:
            self.text, self.answers, self.own = arrays["text"], arrays["answers"], arrays["own"]


def closed_form(vectors: FloatArray, regularization: float) -> tuple[FloatArray, FloatArray]:
    """EASE on (D, I) rows of text, B_T, as factors: x B_T = (x T) answers' - x * own.

    With M = (T'T + lambda 1)^-1, (D, D), Woodbury's identity gives lambda P = 1 - T M T', so that of EASE's
    B = 1 - P diag(1 / diag P) the entry (i, j) is t_i M t_j / (1 - t_j M t_j), and the diagonal is taken out.

    Args:
        vectors: T, (I, D).
        regularization: lambda.

    Returns:
        answers (I, D) and own (I,), float32.
    """
    exact = vectors.astype(np.float64)
    inner = exact.T @ exact
    inner[np.diag_indices(len(inner))] += regularization
    turned = np.linalg.solve(inner, exact.T).T  # (I, D): T M, which is symmetric
    leverage = (turned * exact).sum(axis=1)  # t_j M t_j, below 1
    answers = (turned / (1 - leverage)[:, None]).astype(np.float32)
    return answers, (leverage / (1 - leverage)).astype(np.float32)
