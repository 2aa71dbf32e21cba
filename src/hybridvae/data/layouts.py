"""The names by which reviews and item metadata are recognised: the Amazon layouts, and common names beside them."""

from collections.abc import Collection
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Layout:
    """Names of fields, or of the columns of a table; where several are given, the first present counts."""

    name: str
    user: tuple[str, ...]
    item: tuple[str, ...]
    rating: tuple[str, ...]
    time: tuple[str, ...]
    title: tuple[str, ...]
    text: tuple[str, ...]
    milliseconds: int | None  # of one unit of the time; None: seconds or milliseconds, as the size of the number says

    @property
    def required(self) -> dict[str, tuple[str, ...]]:
        """The names without which there is no review."""
        return {"user": self.user, "item": self.item, "rating": self.rating, "time": self.time}

    def lacks(self, names: Collection[str]) -> list[str]:
        """What is required and has none of these names."""
        return [what for what, accepted in self.required.items() if not any(name in names for name in accepted)]

    def fixed(self, names: Collection[str]) -> "Layout":
        """The layout of a file that has these names: of the common ones the first count in all of its rows."""
        if self is not COMMON:
            return self
        user, item, rating, time = (
            tuple(name for name in accepted if name in names)[:1] for accepted in self.required.values()
        )
        return replace(self, user=user, item=item, rating=rating, time=time)


COMMON = Layout(
    "common",
    user=("user_id", "userId", "user", "reviewerID"),
    item=("item_id", "itemId", "item", "product_id", "parent_asin", "asin"),
    rating=("rating", "score", "stars", "overall"),
    time=("timestamp", "time", "date", "unixReviewTime"),
    title=("title", "summary"),
    text=("text", "review", "reviewText"),
    milliseconds=None,
)
# The first that has all that is required is taken. docs/your-data.md has these names too.
LAYOUTS = (
    Layout(
        "amazon-2014-2018",
        user=("reviewerID",),
        item=("asin",),
        rating=("overall",),
        time=("unixReviewTime",),
        title=("summary",),
        text=("reviewText",),
        milliseconds=1000,
    ),
    Layout(
        "amazon-2023",
        user=("user_id",),
        item=("parent_asin", "asin"),
        rating=("rating",),
        time=("timestamp",),
        title=("title",),
        text=("text",),
        milliseconds=1,
    ),
    COMMON,
)
METADATA_FIELDS = {
    "item": ("parent_asin", "asin", "item_id", "itemId", "item", "product_id"),
    "title": ("title", "name"),
    "brand": ("brand", "store"),
    "categories": ("categories", "category"),
    "description": ("description",),
    "features": ("features",),  # becomes a part of the description
}
