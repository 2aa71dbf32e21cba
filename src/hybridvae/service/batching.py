"""Many requests answered at once.

A request alone would multiply one query with all item vectors, and wait for memory rather than for arithmetic. So what
comes in while a batch is computed is the next batch: nobody waits for a clock, and the more there are the cheaper each
one is. A batch takes milliseconds (but for iALS, which solves for each history) and is computed by the thread that
answers, which a second thread would only fight for the interpreter's lock; what may take longer, as long histories and
reasons do, goes to a thread of the model's.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.data.interactions import Interactions
from hybridvae.recommendations import Lists, Recommendations, best

if TYPE_CHECKING:
    from hybridvae.approximate import Index

_BATCH = 64  # lists computed together, at most
_LONG = 200  # items of a history that is not computed together with others
_REASONS = 3  # of each recommendation
_ASKED_ABOUT = 100  # items of a history, the latest, each of which costs a list without it


@dataclass(frozen=True)
class Ask:
    """One list that somebody wants.

    Attributes:
        user: index, for models that know their users and take no history; -1 for a history.
        items, ages: (H,) the history; age 1 is the latest.
        left_out: (N,) item indices that must not be in the list.
    """

    user: int
    items: IntArray
    ages: FloatArray
    left_out: IntArray
    k: int
    because: bool


@dataclass(frozen=True)
class Answer:
    """A list, the best first, with its reasons.

    Attributes:
        items: (K,) item indices. scores: (K,).
        reasons: of each place the items of the history that add most, with what they add; None where nobody asked.
    """

    items: list[int]
    scores: list[float]
    reasons: list[list[tuple[int, float]]] | None


class Served:
    """One loaded model, and the requests that wait for it."""

    def __init__(self, recommendations: Recommendations, index: "Index | None" = None) -> None:
        """With an index, lists are searched for in it."""
        self.recommendations, self._index = recommendations, index
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=recommendations.name)
        self._waiting: list[tuple[Ask, asyncio.Future[Answer]]] = []

    async def answer(self, ask: Ask) -> Answer:
        """The list that is asked for, computed together with whatever waits, unless it may hold that up."""
        if ask.because or len(ask.items) > _LONG:
            return (await self.answers([ask]))[0]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._answer_waiting, 0)
        self._waiting.append((ask, future))
        return await future

    async def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        """Many lists of one request, computed beside the thread that answers."""
        loop, found = asyncio.get_running_loop(), list[Answer]()
        for begin in range(0, len(asks), _BATCH):
            found += await loop.run_in_executor(self._thread, self.compute, asks[begin : begin + _BATCH])
        return found

    def _answer_waiting(self, before: int) -> None:
        loop = asyncio.get_running_loop()
        if before < len(self._waiting) < _BATCH:  # more have come: so they may at the next look
            loop.call_soon(self._answer_waiting, len(self._waiting))
            return
        size = min(len(self._waiting), _BATCH)
        size -= size % 8 if size > 8 else 0  # oneDNN keeps memory for each size that it has met: let them be few
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        if self._waiting:
            loop.call_soon(self._answer_waiting, 0)
        try:
            answers = self.compute([ask for ask, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():  # whoever asked may have gone
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    def compute(self, asks: Sequence[Ask]) -> list[Answer]:
        """One product for all of them."""
        lists = self._lists(asks)
        answers = []
        for row, ask in enumerate(asks):
            items = lists.items[row, : ask.k]
            items = items[items >= 0]
            scores = lists.scores[row, : len(items)].tolist()
            answers.append(Answer(items.tolist(), scores, self._reasons(ask, items) if ask.because else None))
        return answers

    def _lists(self, asks: Sequence[Ask]) -> Lists:
        shop, k = self.recommendations, max(ask.k for ask in asks)
        left_out = [ask.left_out for ask in asks]
        seen = _matrix(left_out, [np.ones(len(items), dtype=np.float32) for items in left_out], shop.known)
        if not shop.folds_in:
            return best(shop.model.scores(np.array([ask.user for ask in asks])), k, seen=seen)
        histories = _matrix([ask.items for ask in asks], [ask.ages for ask in asks], shop.known)
        if self._index is not None:
            return self._index.best(histories, k, seen=seen)
        return best(shop.folding().scores_of(histories), k, seen=seen)

    def _reasons(self, ask: Ask, items: IntArray) -> list[list[tuple[int, float]]]:
        history = _matrix([ask.items], [ask.ages], self.recommendations.known)
        latest = np.flatnonzero(history.data <= _ASKED_ABOUT)
        added = self.recommendations.reasons(history, items, of=latest)  # (N, K)
        reasons = []
        for place in range(len(items)):
            strongest = np.argsort(-added[:, place], kind="stable")[:_REASONS]
            reasons.append(
                [
                    (int(history.indices[latest[at]]), float(added[at, place]))
                    for at in strongest
                    if added[at, place] > 0
                ]
            )
        return reasons


def _matrix(columns: list[IntArray], values: list[FloatArray], known: Interactions) -> sparse.csr_matrix:
    """Rows of (item indices, values) as (B, I) CSR."""
    bounds = np.concatenate([[0], np.cumsum([len(row) for row in columns])])
    shape = (len(columns), known.n_items)
    return sparse.csr_matrix((np.concatenate(values), np.concatenate(columns), bounds), shape=shape)
