"""From a record to a row of reviews or of metadata: each value checked, or the reason why the record is rejected."""

import ast
import datetime
import html
import math
import re
from itertools import islice
from typing import Any

import orjson

from hybridvae.data.layouts import LAYOUTS, METADATA_FIELDS, Layout
from hybridvae.data.records import MAX_LITERAL, Rejected
from hybridvae.errors import quoted

EARLIEST, LATEST = 631_152_000_000, 4_102_444_800_000  # 1990-01-01 and 2100-01-01, ms since 1970
MAX_ID = 1_000  # characters

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WHOLE_UP_TO = 2**53  # floats hold every whole number up to here
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_DATE = re.compile(r"\s*\d{4}-\d\d-\d\d")


# --- values of CSV, where all are text -----------------------------------------------------------


def with_numbers(record: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A record with numbers in these fields where JSON would have them; ids stay the text that they are."""
    return record | {name: _number_in(record[name]) for name in names if isinstance(record[name], str)}


def _number_in(text: str) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def with_lists(record: dict[str, Any]) -> dict[str, Any]:
    """A record of metadata with lists where a field has one, in JSON or as pandas writes it: "['Music', 'Drums']"."""
    names = [name for what in ("categories", "description", "features") for name in METADATA_FIELDS[what]]
    return record | {name: _list_in(record[name]) for name in names if (record.get(name) or "").startswith("[")}


def _list_in(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:  # the way back through orjson refuses what Parquet cannot hold
        return orjson.loads(orjson.dumps(ast.literal_eval(text))) if len(text) <= MAX_LITERAL else text
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text


# --- values, of whatever kind of file ------------------------------------------------------------


def review_row(record: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """A record as a row of reviews; raises Rejected."""
    user = _identifier(record, _named(record, layout.user))
    item, variant = _item(record, layout.item)
    return {
        "user_id": user,
        "item_id": item,
        "variant_id": variant,
        "rating": _rating(record, layout),
        "timestamp": _timestamp(record, layout),
        "title": _text(record, present(record, layout.title)),
        "text": _text(record, present(record, layout.text)),
    }


def item_row(record: dict[str, Any]) -> dict[str, Any]:
    """A record as a row of metadata; raises Rejected."""
    for layout in LAYOUTS:
        told_by = [present(record, names) for names in (layout.user, layout.rating, layout.time)]
        if all(told_by):
            raise Rejected("not_metadata", f"a review, with {told_by[0]}, {told_by[1]} and {told_by[2]}")
    item, variant = _item(record, METADATA_FIELDS["item"])
    texts = {what: _first_text(record, names) for what, names in METADATA_FIELDS.items() if what != "item"}
    return {
        "item_id": item,
        "variant_id": variant,
        "title": texts["title"],
        "brand": texts["brand"],
        "categories": texts["categories"],
        "description": " ".join(filter(None, (texts["description"], texts["features"]))),
    }


def _first_text(record: dict[str, Any], names: tuple[str, ...]) -> str:
    return next(filter(None, (_text(record, name) for name in names)), "")


def present(record: dict[str, Any], names: tuple[str, ...]) -> str:
    """Which of the fields the line has first; "" if none."""
    for name in names:
        if record.get(name) is not None:
            return name
    return ""


def _named(record: dict[str, Any], names: tuple[str, ...]) -> str:
    if not (name := present(record, names)):
        raise _missing(record, names)
    return name


def _missing(record: dict[str, Any], names: tuple[str, ...]) -> Rejected:
    has = quoted(", ".join(islice(record, 20)))
    return Rejected("missing_field", f"no {' or '.join(names)} in the line, or null: it has {has}")


def _item(record: dict[str, Any], names: tuple[str, ...]) -> tuple[str, str | None]:
    """The id of the item, and another one by which the other file may name it: the 2023 release has both.

    There a product has a parent_asin, and each of its variants (colour, size) an asin of its own.
    """
    name = _named(record, names)
    item = _identifier(record, name)
    other = record.get("asin") if name == "parent_asin" else None
    variant = other.strip() if isinstance(other, str) and len(other) <= MAX_ID else ""
    return item, variant if variant and variant != item else None


def _identifier(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if isinstance(value, str):
        identifier = value.strip()
    elif value is None:
        raise _missing(record, (name,))
    elif isinstance(value, float) and value.is_integer() and abs(value) <= _WHOLE_UP_TO:
        identifier = str(int(value))  # pandas makes floats of whole numbers where some are missing
    elif isinstance(value, int) and not isinstance(value, bool):
        identifier = str(value)
    else:
        raise Rejected("bad_id", f"{name} is {quoted(value)}, neither text nor a whole number")
    if not identifier:
        raise Rejected("empty_id", f"{name} is empty")
    if len(identifier) > MAX_ID:
        raise Rejected("bad_id", f"{name} has {len(identifier)} characters, more than {MAX_ID}")
    if _CONTROL.search(identifier):
        raise Rejected("bad_id", f"{name} is {quoted(identifier)}, with a control character in it")
    return identifier


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rating(record: dict[str, Any], layout: Layout) -> float:
    name = _named(record, layout.rating)
    value: float = record[name]
    if not _is_number(value):
        raise Rejected("bad_rating", f"{name} is {quoted(value)}, not a number")
    if not 1 <= value <= 5:
        raise Rejected("bad_rating", f"{name} is {value}, outside 1 to 5")
    return value


def _timestamp(record: dict[str, Any], layout: Layout) -> int:
    """Milliseconds since 1970, of a number or of a date."""
    name = _named(record, layout.time)
    value = record[name]
    if _is_number(value):
        units = {1000: "seconds", 1: "milliseconds"}
        if layout.milliseconds is not None:
            units = {layout.milliseconds: units[layout.milliseconds]}
        for unit in units:
            if EARLIEST <= value * unit < LATEST:
                return int(value * unit)
        raise Rejected("bad_timestamp", f"{name} is {value}, not {' or '.join(units.values())} from 1990 to 2099")
    when = _date(value)
    if when is None:
        raise Rejected("bad_timestamp", f"{name} is {quoted(value)}, not a number, nor a date such as 2014-05-01")
    milliseconds = (when - _EPOCH) // datetime.timedelta(milliseconds=1)
    if not EARLIEST <= milliseconds < LATEST:
        raise Rejected("bad_timestamp", f"{name} is {quoted(value)}, not from 1990 to 2099")
    return milliseconds


def _date(value: Any) -> datetime.datetime | None:
    """A date of ISO 8601, with or without a time, or one of Parquet; where it says no zone it is of UTC."""
    when = value
    if isinstance(value, str) and _DATE.match(value):
        try:
            when = datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        when = datetime.datetime.combine(value, datetime.time())
    if not isinstance(when, datetime.datetime):
        return None
    return when if when.tzinfo else when.replace(tzinfo=datetime.UTC)


def _text(record: dict[str, Any], name: str) -> str:
    """A field's text, or (nested) lists of it, as one line: entities decoded, white space folded, repeats dropped.

    Numbers are text (a film is called 1984); true, false, null and objects are none.
    """
    value = record.get(name) if name else None  # a column without a name is that of pandas' row numbers
    if isinstance(value, str):
        return one_line(value, name) if value else ""
    leaves: dict[str, None] = {}  # in order, each once
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, str):
            leaves[one_line(part, name)] = None
        elif isinstance(part, int | float) and not isinstance(part, bool):
            # 1984.0 is what pandas makes of 1984 where other titles are missing.
            whole = isinstance(part, float) and part.is_integer() and abs(part) <= _WHOLE_UP_TO
            leaves[str(int(part) if whole else part)] = None
    return ", ".join(filter(None, leaves))


def one_line(text: str, name: str) -> str:
    """A text with entities decoded and white space folded; raises Rejected."""
    try:
        return " ".join(html.unescape(text).replace("\0", " ").split())
    except ValueError:  # int() takes 4,300 digits
        raise Rejected("bad_text", f"{name} has a numeric character reference of thousands of digits") from None
