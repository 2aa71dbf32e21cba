"""This project's models, under the requests that the other libraries get too."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from protocol import Answer, Request, seconds_of, serve, versions

from hybridvae.data.interactions import Interactions, read_interactions, read_targets
from hybridvae.evaluation.judge import ValidationNDCG, judge, validation_ndcg
from hybridvae.models import Context, EpochMetrics, Recommender, create
from hybridvae.recommendations import Recommendations, write_lists

# Matrix products, and which of their arguments is the first operand: before it may come what is added.
PRODUCTS = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::addmm_": 1, "aten::baddbmm": 1}
Shapes = tuple[str, tuple[tuple[int, ...], ...]]  # an operation with the shapes of what it multiplies


def interactions_of(request: Request) -> Interactions:
    """The training part, with the item vectors where the request has them."""
    torch.set_num_threads(request.threads)
    return read_interactions(Path(request.split), upto="train", vectors=request.vectors or None)


def model_of(request: Request, name: str, **more: Any) -> Recommender:
    """An unfitted model with the parameters of the request."""
    return create(name, request.parameters | more, Context(seed=42, device="cpu"))


def epochs(request: Request) -> Answer:
    """Seconds of each epoch of the model that is named like the work."""
    interactions, model = interactions_of(request), model_of(request, request.work, epochs=request.epochs)
    seconds: list[float] = []
    train = cast(Any, model).train

    def timed(
        network: Any, optimizers: Any, known: Any, train_epoch: Callable[[int], EpochMetrics], **more: Any
    ) -> None:
        def epoch(number: int) -> EpochMetrics:
            taken, figures = seconds_of(lambda: train_epoch(number))
            seconds.append(taken)
            return cast(EpochMetrics, figures)

        train(network, optimizers, known, epoch, **more)

    cast(Any, model).train = timed
    model.fit(interactions)
    return answer(seconds, ndcg(request, model, interactions))


def ease(request: Request) -> Answer:
    """Seconds of the fit."""
    interactions, model = interactions_of(request), model_of(request, "ease")
    seconds, _ = seconds_of(lambda: model.fit(interactions))
    return answer([seconds], ndcg(request, model, interactions))


def judging(request: Request) -> Answer:
    """Seconds of a full ranking of the validation part, of a Mult-VAE after an epoch, with all metrics and lists."""
    interactions, model = interactions_of(request), model_of(request, "multvae", epochs=request.epochs)
    model.fit(interactions)
    targets = read_targets(Path(request.split))
    seconds, judged = seconds_of(lambda: judge(model.scores, interactions, targets, protocols=("full",)))
    return answer([seconds], None) | {"own": float(judged.per_user["full/ndcg@10"].mean())}


def quality(request: Request) -> Answer:
    """Seconds from the start of a whole fit to the first validation at 98 % of the best one, each included."""
    interactions, model = interactions_of(request), model_of(request, request.work.removeprefix("quality_"))
    start, curve = time.perf_counter(), list[tuple[float, float]]()

    def ended(_: int, figures: EpochMetrics) -> None:
        if "ndcg@10" in figures:
            curve.append((time.perf_counter() - start, figures["ndcg@10"]))

    model.fit(interactions, validation=ValidationNDCG(interactions, read_targets(Path(request.split))), on_epoch=ended)
    whole, best = time.perf_counter() - start, max(figure for _, figure in curve)
    seconds = next(at for at, figure in curve if figure >= 0.98 * best)
    return answer([seconds], ndcg(request, model, interactions)) | {"whole": whole, "own": best, "curve": curve}


def export(request: Request) -> Answer:
    """Seconds in which the 20 best items of all users are in a Parquet file, by a HybridVAE after an epoch."""
    interactions, model = interactions_of(request), model_of(request, "hybridvae", epochs=request.epochs)
    model.fit(interactions)
    recommendations, path = Recommendations("hybridvae", model, interactions), Path(request.folder, "lists.parquet")
    seconds, rows = seconds_of(lambda: write_lists(path, recommendations, 20))
    return answer([seconds], None) | {"users": interactions.n_users, "rows": rows}


def products(request: Request) -> Answer:
    """Of an epoch's seconds those of its matrix products alone, on operands that lie ready; and what else took time.

    A profiled epoch says which products there are, of what shapes; they are then repeated, each as often as it was.
    An epoch that is not profiled is what they are compared with.
    """
    name, interactions = request.work.removeprefix("products_"), interactions_of(request)
    profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True)
    ends: list[float] = []

    def ended(epoch: int, _: EpochMetrics) -> None:
        """Time the second epoch, for in the first memory is asked for, and profile the third."""
        ends.append(time.perf_counter())
        if epoch == 2:
            profile.start()
        elif epoch == 3:
            profile.stop()

    model_of(request, name, epochs=3).fit(interactions, on_epoch=ended)
    epoch = ends[1] - ends[0]
    times: Counter[str] = Counter()
    shapes: Counter[Shapes] = Counter()
    for event in profile.key_averages(group_by_input_shape=True):
        times[event.key] += event.self_cpu_time_total
        if event.key in PRODUCTS:
            first = PRODUCTS[event.key]
            operands = tuple(tuple(shape) for shape in event.input_shapes[first : first + 2])
            shapes[event.key, operands] += event.count
    alone = sum(count * seconds_a_product(*shape) for shape, count in shapes.items())
    total = sum(times.values())
    rest = {key: time / total for key, time in times.most_common(12) if key not in PRODUCTS}
    profiled = sum(times[key] for key in PRODUCTS) / total
    found = {"epoch": epoch, "share": alone / epoch, "profiled_share": profiled, "rest": rest}
    return answer([alone], None) | found


def seconds_a_product(kind: str, operands: tuple[tuple[int, ...], ...]) -> float:
    """The median of five products of such shapes, after a first one."""
    first, second = (torch.rand(shape) for shape in operands)
    multiply = torch.bmm if "bmm" in kind else torch.mm
    seconds = [seconds_of(lambda: multiply(first, second))[0] for _ in range(6)]
    return float(np.median(seconds[1:]))


def ndcg(request: Request, model: Recommender, interactions: Interactions) -> float:
    """By the judge, on the validation part."""
    return validation_ndcg(model.scores, interactions, read_targets(Path(request.split)))


def answer(seconds: list[float], figure: float | None) -> Answer:
    """The answer of this project; its models are judged here, and write no scores."""
    return {"seconds": seconds, "ndcg@10": figure, "versions": versions("hybridvae", "torch", "numpy", "scipy")}


if __name__ == "__main__":
    serve(
        {
            "multvae": epochs,
            "lightgcn": epochs,
            "sasrec": epochs,
            "ease": ease,
            "judge": judging,
            "hybridvae": quality,
            "quality_multvae": quality,
            "quality_lightgcn": quality,
            "quality_sasrec": quality,
            "export": export,
            "products_multvae": products,
            "products_hybridvae": products,
        }
    )
