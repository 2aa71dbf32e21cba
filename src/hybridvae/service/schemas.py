"""What goes into the service and what comes out: the shapes that /docs shows and every request is checked against."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

# Ids are texts. Where a data set numbers its users or items, a number may come without quotes.
_ID = Field(
    min_length=1,
    max_length=200,
    coerce_numbers_to_str=True,
    json_schema_extra={"type": ["string", "number"]},
)
ItemId = Annotated[str, _ID]
UserId = Annotated[str, _ID]


def _no_truth(value: Any) -> Any:
    """10.0 is a whole number in JSON, true is none."""
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number")
    return value


TopK = Annotated[int, Field(ge=1, le=100, description="length of the list"), BeforeValidator(_no_truth)]
ModelName = Annotated[str, Field(min_length=1, max_length=100, description="a trained model, see GET /models")]

MOST_ITEMS = 2_000  # of a history
MOST_LISTS = 1_000  # of a batch


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Rated(_Request):
    """An item of a history with its rating."""

    item_id: ItemId
    rating: Annotated[float, Field(ge=1, le=5, allow_inf_nan=False)]


def _kind(value: Any) -> str:
    return "rated" if isinstance(value, dict | Rated) else "id"


ItemOfHistory = Annotated[Annotated[ItemId, Tag("id")] | Annotated[Rated, Tag("rated")], Discriminator(_kind)]


class _Wanted(_Request):
    top_k: TopK = 10
    exclude_seen: bool = Field(True, strict=True, description="leave out everything that was ever rated")
    exclude_items: Annotated[list[ItemId], Field(max_length=MOST_ITEMS)] = []
    because: bool = Field(False, strict=True, description="say which items of the history add most to each score")
    model: ModelName | None = Field(None, description="by default the one the service was started with")


class ForUser(_Wanted):
    """Recommendations for a known user."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_id": "405", "top_k": 5}]})
    user_id: UserId


History = Annotated[list[ItemOfHistory], Field(max_length=MOST_ITEMS)]


class ForHistory(_Wanted):
    """Recommendations for a history, whoever has it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"history": ["50", "181"], "top_k": 5, "because": True}]})
    history: History = Field(
        description="in the order of choice, the latest last; what is rated low counts as seen and not as liked"
    )


def _one_of(*keys: str) -> Discriminator:
    """Which of several shapes a request has, by the key that it must have and the others must not."""

    def key_of(value: Any) -> str | None:
        given = [key for key in keys if (key in value if isinstance(value, dict) else hasattr(value, key))]
        return given[0] if len(given) == 1 else None

    message = f"give either {' or '.join(keys)}, and not both"
    return Discriminator(key_of, custom_error_type="one_of", custom_error_message=message)


Wanted = Annotated[
    Annotated[ForUser, Tag("user_id")] | Annotated[ForHistory, Tag("history")], _one_of("user_id", "history")
]


class _WantedBatch(_Request):
    top_k: TopK = 10
    exclude_seen: bool = Field(True, strict=True)
    model: ModelName | None = None


class ForUsers(_WantedBatch):
    """Recommendations for many known users."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_ids": ["405", "13"], "top_k": 3}]})
    user_ids: Annotated[list[UserId], Field(min_length=1, max_length=MOST_LISTS)]


class ForHistories(_WantedBatch):
    """Recommendations for many histories."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"histories": [["50", "181"], ["13"]], "top_k": 3}]})
    histories: Annotated[list[History], Field(min_length=1, max_length=MOST_LISTS)]


WantedBatch = Annotated[
    Annotated[ForUsers, Tag("user_ids")] | Annotated[ForHistories, Tag("histories")],
    _one_of("user_ids", "histories"),
]


class SimilarToItem(_Request):
    """Items whose text is near that of an item of the catalogue."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"item_id": "50", "top_k": 5}]})
    item_id: ItemId
    top_k: TopK = 10


class SimilarToText(_Request):
    """Items whose text is near a text, say of a product that nobody has bought yet."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "a western with trains", "top_k": 5}]})
    text: Annotated[str, Field(min_length=1, max_length=10_000)]
    top_k: TopK = 10


SimilarTo = Annotated[
    Annotated[SimilarToItem, Tag("item_id")] | Annotated[SimilarToText, Tag("text")], _one_of("item_id", "text")
]


class Reason(BaseModel):
    """An item of the history, and what the score would lose without it."""

    item_id: str
    title: str
    contribution: float


class Recommendation(BaseModel):
    """An item of a list; scores order one list and mean nothing beyond it."""

    item_id: str
    score: float
    title: str
    because: list[Reason] | None = Field(None, description="the three strongest reasons, where they were asked for")


class Recommended(BaseModel):
    """A list, the best first."""

    user_id: str | None
    model: str
    recommendations: list[Recommendation]
    total_items: int
    unknown_items: list[str] = Field(description="items of the request that the catalogue lacks; they were passed over")


class OfUser(BaseModel):
    """A user's list in a batch."""

    user_id: str
    recommendations: list[Recommendation]


class OfHistory(BaseModel):
    """A history's list in a batch, empty where the catalogue has none of its items."""

    recommendations: list[Recommendation]
    unknown_items: list[str]


class RecommendedBatch(BaseModel):
    """Lists in the order of the request: of each history, or of those users who are known."""

    model: str
    results: list[OfUser] | list[OfHistory]
    unknown_users: list[str]
    total_items: int


class SimilarItem(BaseModel):
    """An item with the cosine of its text vector."""

    item_id: str
    score: float
    title: str


class Similar(BaseModel):
    """Items, the nearest first."""

    items: list[SimilarItem]


class Active(BaseModel):
    """A user and how many ratings are known."""

    user_id: str
    interaction_count: int


class Users(BaseModel):
    """Users, the most active first."""

    users: list[Active]
    total: int
    returned: int


class Chosen(BaseModel):
    """An item of a history."""

    item_id: str
    title: str
    rating: float


class Profile(BaseModel):
    """What is known of a user: the history holds what was liked, the latest first, and `disliked` the other ratings."""

    user_id: str
    interaction_count: int
    positives: int
    history: list[Chosen]
    disliked: list[Chosen]


class ItemInfo(BaseModel):
    """What is known of an item."""

    item_id: str
    title: str
    ratings: int
    positives: int
    mean_rating: float | None


class Items(BaseModel):
    """Items found, the best liked first."""

    items: list[ItemInfo]
    total: int
    returned: int


class ModelInfo(BaseModel):
    """A trained model."""

    name: str
    title: str
    folds_in: bool | None = Field(description="whether it takes histories; null where its checkpoint does not say")
    loaded: bool
    default: bool
    available: bool = Field(description="whether it can be asked, as far as its files show before they are read whole")
    problem: str | None = Field(description="why it cannot be asked, and what to do")


class Models(BaseModel):
    """The trained models, the default first."""

    models: list[ModelInfo]


class Stats(BaseModel):
    """Sizes of the data."""

    dataset: str
    users: int
    items: int
    interactions: int
    positives: int
    density: float
    default_model: str


class Health(BaseModel):
    """Whether the service can answer."""

    status: Literal["ok"]
    model: str
    version: str


class Problem(BaseModel):
    """What is wrong, and the nearest thing to do."""

    code: str
    message: str


class Error(BaseModel):
    """The one form of every error."""

    error: Problem
