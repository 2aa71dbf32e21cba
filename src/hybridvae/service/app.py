"""The service's addresses."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, FastAPI, Query, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from hybridvae import __version__
from hybridvae.errors import quoted
from hybridvae.reporting.model_titles import title_of
from hybridvae.service import page, schemas
from hybridvae.service.batching import Answer, Ask, Served
from hybridvae.service.engine import Engine, Refused
from hybridvae.service.errors import Limit, answer_errors, json_response

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": schemas.Error, "description": "The request cannot be read"},
    408: {"model": schemas.Error, "description": "The request did not arrive in time"},
    413: {"model": schemas.Error, "description": "The body is larger than 1 MB"},
    422: {
        "model": schemas.Error,
        "description": "The body is no JSON, or a value has a wrong type or is out of bounds",
    },
    503: {"model": schemas.Error, "description": "A file is damaged, the service is full, or it ends"},
}
_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": schemas.Error, "description": "There is no such thing"}}
_CANNOT: dict[int | str, dict[str, Any]] = {409: {"model": schemas.Error, "description": "This model cannot do that"}}
_DOCUMENTATION = """
Recommendations by the models that this repository trains, HybridVAE by default: for users it knows, and for histories
of item ids that it has never seen.

Every error has one form, `{"error": {"code": ..., "message": ...}}`, whose message says what is wrong and what to do.
"""


class _Request(Request):
    """A request whose JSON is read strictly: without NaN, infinities, halves of characters and depths."""

    async def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(await self.body())


class _Route(APIRoute):
    """A route that reads `_Request`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_Request(request.scope, request.receive))

        return handle


_Asked = tuple[dict[str, Any], Ask | None]  # of a list in a batch: what is said of it; None where it will be empty

router = APIRouter(route_class=_Route)


def create_app(engine: Engine) -> FastAPI:
    """The application around a loaded engine."""
    app = FastAPI(
        title="HybridVAE",
        version=__version__,
        description=_DOCUMENTATION,
        responses=_PROBLEMS,
        docs_url=None,  # FastAPI's page loads scripts from the network: see `page.documentation`
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name whatever host the request named
    )
    app.state.engine = engine
    app.add_middleware(Limit)
    answer_errors(app)
    app.include_router(router)
    app.include_router(page.router)
    return app


@router.post("/recommend", response_model=schemas.Recommended, responses=_MISSING | _CANNOT, tags=["recommend"])
async def recommend(http: Request, request: Annotated[schemas.Wanted, Body()]) -> Response:
    """The best items for a user, or for a history of item ids."""
    engine = _engine(http)
    served = await engine.served(request.model)
    exclude, unknown = served.recommendations.find(request.exclude_items)
    if isinstance(request, schemas.ForUser):
        if request.because:
            _must_fold_in(served)
        user = engine.user(request.user_id)
        ask = engine.ask_of_user(
            user, request.top_k, exclude_seen=request.exclude_seen, exclude=exclude, because=request.because
        )
    else:
        _must_fold_in(served)
        ask, missing = _ask_of_history(engine, served, request, exclude)
        unknown = missing + unknown
    answer = await served.answer(ask)
    user_id = request.user_id if isinstance(request, schemas.ForUser) else None
    return json_response(
        {
            "user_id": user_id,
            "model": served.recommendations.name,
            "recommendations": _listed(engine, answer),
            "total_items": engine.known.n_items,
            "unknown_items": unknown,
        }
    )


@router.post(
    "/recommend/batch", response_model=schemas.RecommendedBatch, responses=_MISSING | _CANNOT, tags=["recommend"]
)
async def recommend_batch(http: Request, request: Annotated[schemas.WantedBatch, Body()]) -> Response:
    """The best items for many users, or for many histories of item ids, computed together."""
    engine = _engine(http)
    served = await engine.served(request.model)
    if isinstance(request, schemas.ForHistories):
        _must_fold_in(served)

    def asked() -> list[_Asked]:
        if isinstance(request, schemas.ForUsers):
            return _asked_of_users(engine, request)
        return _asked_of_histories(engine, served, request)

    def response(lists: list[_Asked], answers: list[Answer]) -> Response:
        left = iter(answers)
        results = [about | {"recommendations": _listed(engine, next(left)) if ask else []} for about, ask in lists]
        users = request.user_ids if isinstance(request, schemas.ForUsers) else []
        unknown = [user for user in users if not engine.has_user(user)]
        counts = {"unknown_users": unknown, "total_items": engine.known.n_items}
        return json_response({"model": served.recommendations.name, "results": results, **counts})

    # All three take a while for 1,000 lists, in which others must be answered.
    lists = await asyncio.to_thread(asked)
    answers = await served.answers([ask for _, ask in lists if ask])
    return await asyncio.to_thread(response, lists, answers)


@router.post("/items/similar", response_model=schemas.Similar, responses=_MISSING | _CANNOT, tags=["items"])
async def similar(http: Request, request: Annotated[schemas.SimilarTo, Body()]) -> Response:
    """The items whose text is nearest to that of an item, or to a text."""
    engine = _engine(http)
    if isinstance(request, schemas.SimilarToItem):
        index = engine.item(request.item_id)
        items, scores = engine.similar(engine.vectors[index], request.top_k, without=index)
    else:
        items, scores = engine.similar(await engine.encoded(request.text), request.top_k)
    return json_response(
        {"items": [_named(engine, item) | {"score": score} for item, score in zip(items, scores, strict=True)]}
    )


@router.get("/users", response_model=schemas.Users, tags=["users"])
def users(
    http: Request,
    n: Annotated[int, Query(ge=1, le=1000)] = 5,
    query: Annotated[str, Query(max_length=200, description="a part of the id")] = "",
) -> Response:
    """Users, the most active first."""
    engine = _engine(http)
    found = engine.find_users(query)
    counts = engine.ratings_of_users
    listed = [{"user_id": str(engine.known.users[user]), "interaction_count": int(counts[user])} for user in found[:n]]
    return json_response({"users": listed, "total": len(found), "returned": len(listed)})


@router.get("/users/{user_id:path}/profile", response_model=schemas.Profile, responses=_MISSING, tags=["users"])
def profile(http: Request, user_id: str) -> Response:
    """What a user liked, the latest first."""
    engine = _engine(http)
    user = engine.user(user_id)
    history, ratings = engine.known.histories[user], engine.known.ratings[user]
    latest_first = history.indices[history.data.argsort(kind="stable")]
    rated = dict(zip(ratings.indices.tolist(), ratings.data.tolist(), strict=True))

    def listed(items: Iterable[int]) -> list[dict[str, Any]]:
        return [_named(engine, item) | {"rating": rated[item]} for item in items]

    counts = {"interaction_count": ratings.nnz, "positives": history.nnz}
    disliked = rated.keys() - set(history.indices.tolist())
    lists = {"history": listed(latest_first.tolist()), "disliked": listed(sorted(disliked))}
    return json_response({"user_id": user_id, **counts, **lists})


@router.get("/items", response_model=schemas.Items, tags=["items"])
def items(
    http: Request,
    query: Annotated[str, Query(max_length=200, description="words of the title, or the id")] = "",
    n: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Response:
    """Items by the words of their titles, the best liked first."""
    engine = _engine(http)
    found = engine.find_items(query)
    listed = [_info(engine, item) for item in found[:n]]
    return json_response({"items": listed, "total": len(found), "returned": len(listed)})


@router.get("/items/{item_id:path}/info", response_model=schemas.ItemInfo, responses=_MISSING, tags=["items"])
def item_info(http: Request, item_id: str) -> Response:
    """What is known of an item."""
    engine = _engine(http)
    return json_response(_info(engine, engine.item(item_id)))


@router.get("/models", response_model=schemas.Models, tags=["service"])
async def models(http: Request) -> Response:
    """The trained models, and whether they can be asked."""
    engine = _engine(http)
    listed = []
    for name in engine.model_names:
        state = {"folds_in": engine.folds_in(name), "loaded": engine.is_loaded(name), "default": name == engine.default}
        problem = engine.problem(name)
        availability = {"available": problem is None, "problem": problem}
        listed.append({"name": name, "title": title_of(name), **state, **availability})
    return json_response({"models": listed})


@router.get("/stats", response_model=schemas.Stats, tags=["service"])
async def stats(http: Request) -> Response:
    """Sizes of the data."""
    engine = _engine(http)
    sizes = {"users": engine.known.n_users, "items": engine.known.n_items}
    sizes |= {"interactions": engine.known.ratings.nnz, "positives": engine.known.positives.nnz}
    density = engine.known.positives.nnz / max(1, engine.known.n_users * engine.known.n_items)
    return json_response({"dataset": engine.dataset, **sizes, "density": density, "default_model": engine.default})


@router.get("/health", response_model=schemas.Health, tags=["service"])
async def health(http: Request) -> Response:
    """Whether the service can answer."""
    engine = _engine(http)
    return json_response({"status": "ok", "model": engine.default, "version": __version__})


def _engine(http: Request) -> Engine:
    engine: Engine = http.app.state.engine
    return engine


def _asked_of_users(engine: Engine, request: schemas.ForUsers) -> list[_Asked]:
    seen = request.exclude_seen
    return [
        (
            {"user_id": user},
            engine.ask_of_user(engine.user(user), request.top_k, exclude_seen=seen, exclude=(), because=False),
        )
        for user in request.user_ids
        if engine.has_user(user)
    ]


def _asked_of_histories(engine: Engine, served: Served, request: schemas.ForHistories) -> list[_Asked]:
    asked: list[_Asked] = []
    for history in request.histories:
        liked, seen, unknown = _found(engine, served, history)
        excluded = seen if request.exclude_seen else ()
        ask = engine.ask_of_history(liked, request.top_k, exclude=excluded, because=False)
        asked.append(({"unknown_items": unknown}, ask if seen or not history else None))
    return asked


def _ask_of_history(
    engine: Engine, served: Served, request: schemas.ForHistory, exclude: Sequence[int]
) -> tuple[Ask, list[str]]:
    """What a raw history asks for, and the ids that the catalogue lacks."""
    liked, seen, unknown = _found(engine, served, request.history)
    if request.history and not seen:
        said = f"the catalogue has none of the history's items, such as {quoted(unknown[0])}: "
        raise Refused(404, "unknown_items", said + "GET /items?query= searches it.")
    excluded = [*exclude, *(seen if request.exclude_seen else ())]
    return engine.ask_of_history(liked, request.top_k, exclude=excluded, because=request.because), unknown


def _found(
    engine: Engine, served: Served, history: Sequence[str | schemas.Rated]
) -> tuple[list[int], list[int], list[str]]:
    """Of a raw history the items that were liked, those that were seen, and the ids that the catalogue lacks."""
    find = served.recommendations.find
    rated = [  # what comes without a rating was liked
        (item.item_id, item.rating >= engine.positive_rating) if isinstance(item, schemas.Rated) else (item, True)
        for item in history
    ]
    seen, unknown = find([item for item, _ in rated])
    liked, _ = find([item for item, is_liked in rated if is_liked])
    return liked, seen, unknown


def _must_fold_in(served: Served) -> None:
    if not served.recommendations.folds_in:
        name = served.recommendations.name
        said = f"{name} takes no history, and so it cannot say what an item of one adds: "
        raise Refused(409, "cannot_fold_in", said + "ask for a user_id without `because`, or take another model.")


def _named(engine: Engine, item: int) -> dict[str, Any]:
    return {"item_id": str(engine.known.items[item]), "title": str(engine.known.titles[item])}


def _info(engine: Engine, item: int) -> dict[str, Any]:
    counts, means = engine.ratings_of_items
    mean = float(means[item]) if counts[item] else None
    positives = int(engine.positives_of_items[item])
    return _named(engine, item) | {"ratings": int(counts[item]), "positives": positives, "mean_rating": mean}


def _listed(engine: Engine, answer: Answer) -> list[dict[str, Any]]:
    listed = [_named(engine, item) | {"score": score} for item, score in zip(answer.items, answer.scores, strict=True)]
    if answer.reasons is not None:
        for entry, reasons in zip(listed, answer.reasons, strict=True):
            entry["because"] = [_named(engine, item) | {"contribution": added} for item, added in reasons]
    return listed
