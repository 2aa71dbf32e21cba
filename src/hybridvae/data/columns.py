"""Many reviews at once: the checks of `values.review_row` on whole columns, which take a fraction of its time a row.

Rows in which a check sees anything out of the ordinary are not judged here, but named, so that `review_row` has the
last word on them: what is kept and what is rejected, and why, is the same for every row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hybridvae.data.layouts import Layout
from hybridvae.data.records import Rejected
from hybridvae.data.values import EARLIEST, LATEST, MAX_ID, one_line

Flags = npt.NDArray[np.bool_]

REVIEW_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "variant_id": pa.string(),  # null, or another id of the item: see `values`
        "rating": pa.float32(),
        "timestamp": pa.int64(),
        "title": pa.string(),
        "text": pa.string(),
    }
)

_SPACES = r"\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{85}\x{a0}"  # beside those of ASCII
_ODD_ID = rf"^$|^[\s\x{{0b}}{_SPACES}]|[\s\x{{0b}}{_SPACES}]$|[\x00-\x1f\x7f]"
_ODD_TEXT = rf"^ | $|  |[&\x00\x{{09}}-\x{{0d}}\x{{1c}}-\x{{1f}}{_SPACES}]"  # what `one_line` would change


def review_columns(records: list[dict[str, Any]], layout: Layout) -> tuple[pa.RecordBatch, Flags] | None:
    """The reviews as columns of `REVIEW_SCHEMA`, and which rows need a second look: (N,).

    Args:
        records: (N,) of a file whose layout is known.

    Returns:
        None where a column has values of several types, so that every row needs one.
    """
    try:
        users = pa.array(_values(records, layout.user), pa.string())
        items = pa.array(_values(records, layout.item), pa.string())
        ratings = pa.array(_numbers(_values(records, layout.rating)), pa.float64())
        times = pa.array(_numbers(_values(records, layout.time)), pa.float64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None
    odd = _odd_ids(users) | _odd_ids(items)
    rating = ratings.fill_null(0).to_numpy()
    odd |= ~((rating >= 1) & (rating <= 5))
    timestamp, unknown = _milliseconds(times.fill_null(-1).to_numpy(), layout.milliseconds)
    odd |= unknown
    texts = [_texts(_values(records, names), names[0]) for names in (layout.title, layout.text)]
    variants, odd_variants = _variants(records, layout, items)
    odd |= texts[0][1] | texts[1][1] | odd_variants
    columns = [users, items, variants, pa.array(rating, pa.float32()), pa.array(timestamp), texts[0][0], texts[1][0]]
    return pa.RecordBatch.from_arrays(columns, schema=REVIEW_SCHEMA), odd


def _values(records: list[dict[str, Any]], names: tuple[str, ...]) -> list[Any]:
    """Of each record the first of the named values that is not null."""
    first, *others = names
    values = [record.get(first) for record in records]
    for name in others:
        values = [record.get(name) if value is None else value for record, value in zip(records, values, strict=True)]
    return values


def _numbers(values: list[Any]) -> list[Any]:
    """The values, of which true and false, which Python takes for numbers, are none."""
    if any(type(value) is bool for value in values):
        raise pa.ArrowTypeError("a column of numbers has a truth value")
    return values


def _odd_ids(ids: pa.Array) -> Flags:
    odd = pc.or_(pc.match_substring_regex(ids, _ODD_ID), pc.greater(pc.utf8_length(ids), MAX_ID))
    return _flags(pc.fill_null(odd, True))


def _flags(array: pa.Array) -> Flags:
    flags: Flags = array.to_numpy(zero_copy_only=False).astype(bool)
    return flags


def _milliseconds(times: npt.NDArray[np.float64], unit: int | None) -> tuple[npt.NDArray[np.int64], Flags]:
    """Times in ms since 1970, and which are out of range; without a unit their size says whether they are seconds."""
    if unit is not None:
        found = times * unit
    else:
        seconds = (times * 1000 >= EARLIEST) & (times * 1000 < LATEST)
        found = np.where(seconds, times * 1000, times)
    outside = ~((found >= EARLIEST) & (found < LATEST))
    return np.where(outside, 0, found).astype(np.int64), outside


def _texts(values: list[Any], name: str) -> tuple[pa.Array, Flags]:
    """Texts in one line, and which values are neither text nor null."""
    odd = np.fromiter((value is not None and type(value) is not str for value in values), dtype=bool, count=len(values))
    plain = ["" if value is None or is_odd else value for value, is_odd in zip(values, odd.tolist(), strict=True)]
    array = pa.array(plain, pa.string())
    for place in np.flatnonzero(_flags(pc.match_substring_regex(array, _ODD_TEXT))).tolist():
        try:
            plain[place] = one_line(plain[place], name)
        except Rejected:
            odd[place] = True
    return pa.array(plain, pa.string()), odd


def _variants(records: list[dict[str, Any]], layout: Layout, items: pa.Array) -> tuple[pa.Array, Flags]:
    """The variants' ids, where the items' are those of their parents; and which rows may have another item."""
    none, nowhere = pa.nulls(len(records), pa.string()), np.zeros(len(records), dtype=bool)
    if "parent_asin" not in layout.item:
        return none, nowhere
    others = [record.get("asin") if record.get("parent_asin") is not None else None for record in records]
    texts = [value.strip() if type(value) is str and len(value) <= MAX_ID else None for value in others]
    variants = pa.array(texts, pa.string())
    same = pc.fill_null(pc.or_(pc.equal(variants, items), pc.equal(variants, "")), True)
    return pc.if_else(same, pa.scalar(None, pa.string()), variants), nowhere
