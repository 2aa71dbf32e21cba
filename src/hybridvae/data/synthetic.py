"""Reviews that nobody wrote, as many as are wanted: for trying how cost grows.

Popularity of items and activity of users are as skewed as in a shop (Zipf). Each user has two favourite genres out of
`GENRES` and mostly takes items of these; an item's title and the words of its reviews tell its genre. So models can be
told apart, and text tells something. Blocks of rows are drawn from seeds of their own, so that the same call writes the
same rows, whatever is stopped and begun again in between.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybridvae.arrays import IntArray
from hybridvae.errors import BadParameterError
from hybridvae.files import atomic_path, read_json, write_json
from hybridvae.progress import progress
from hybridvae.seeds import random_generator

GENRES = 32
_ARGUMENTS = "synthesize.json"
_BLOCK = 1_000_000  # rows of a file
_MEAN = 10  # reviews of a user, of which 5 are the least
_FAITHFUL = 0.7  # share of the reviews that go to a favourite genre
_SENTENCES = 200  # different review texts of a genre
_DAY = 86_400_000  # ms
_BEGIN = 1_500_000_000_000  # ms since 1970: July 2017
_DAYS = 2_000
_ITEMS = 100_000  # of the metadata, written at a time


@dataclass(frozen=True)
class Size:
    """How many rows, items and users there are; users follow from rows."""

    rows: int
    items: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.items < GENRES:
            raise BadParameterError(f"synthesize: rows must be at least 1, and items at least {GENRES}.")

    @property
    def users(self) -> int:
        """About so many write 10 reviews each."""
        return max(1, self.rows // _MEAN)


def synthesize(into: Path, size: Size, *, seed: int) -> list[Path]:
    """Write `reviews-<n>.jsonl.gz`, a million rows each, and `metadata.jsonl.gz`, as Amazon's 2023 release has them.

    What is there already, of an earlier call with the same arguments, is kept.

    Returns:
        The files of reviews.

    Raises:
        BadParameterError: the folder holds files of other arguments.
    """
    arguments = {"rows": size.rows, "items": size.items, "seed": seed}
    if (into / _ARGUMENTS).is_file() and read_json(into / _ARGUMENTS) != arguments:
        raise BadParameterError(f"{into} holds reviews of other arguments ({_ARGUMENTS}): choose another folder.")
    write_json(into / _ARGUMENTS, arguments)
    sizes = [min(_BLOCK, size.rows - begin) for begin in range(0, size.rows, _BLOCK)]
    files = [into / f"reviews-{number:05d}.jsonl.gz" for number in range(len(sizes))]
    for number, rows in enumerate(progress(sizes, doing="synthesize", unit="files")):
        if not files[number].exists():
            _write_json(files[number], _reviews(number, rows, size, seed))
    if not (into / "metadata.jsonl.gz").exists():
        _write_json(into / "metadata.jsonl.gz", pa.concat_tables(_metadata(size.items, seed)))
    return files


def _write_json(path: Path, rows: pa.Table) -> None:
    with atomic_path(path) as partial, duckdb.connect() as connection:
        connection.register("rows", rows)
        target = str(partial).replace("'", "''")
        connection.execute(f"COPY rows TO '{target}' (FORMAT json, COMPRESSION gzip)")


def _reviews(number: int, rows: int, size: Size, seed: int) -> pa.Table:
    random = random_generator(seed, "synthesize", number)
    lengths = 5 + np.floor(random.pareto(1.8, rows // 5 + 1) * 4.0).astype(np.int64)  # of users: skewed, mean near 10
    users = np.repeat(np.arange(len(lengths)), np.minimum(lengths, 2_000))[:rows]
    favourites = random.integers(GENRES, size=(len(lengths), 2))
    genre = favourites[users, random.integers(2, size=rows)]
    strays = random.random(rows) >= _FAITHFUL
    genre[strays] = random.integers(GENRES, size=int(strays.sum()))
    place = _zipf(random.random(rows), size.items // GENRES)
    rating = np.where(strays, random.integers(1, 6, size=rows), random.integers(4, 6, size=rows))
    first = number * (_BLOCK // 5 + 1)  # so that no user of another file has the same number
    words = pa.array(_sentences(seed)).take(pa.array(genre * _SENTENCES + random.integers(_SENTENCES, size=rows)))
    return pa.table(
        {
            "user_id": _ids("U", first + users),
            "parent_asin": _ids("I", place * GENRES + genre),
            "rating": rating.astype(np.float64),
            "title": words,
            "text": words,
            "timestamp": _BEGIN + _DAY * random.integers(_DAYS, size=rows),
        }
    )


def _zipf(uniform: npt.NDArray[np.float64], number: int) -> IntArray:
    """Places from 0 to `number` - 1, the p-th drawn in proportion to 1 / (p + 3)."""
    chances = np.cumsum(1 / (np.arange(number) + 3.0))
    return np.searchsorted(chances / chances[-1], uniform, side="right")


def _ids(letter: str, numbers: IntArray) -> pa.Array:
    digits = pa.compute.utf8_lpad(pa.array(numbers).cast(pa.string()), width=10, padding="0")
    return pa.compute.binary_join_element_wise(letter, digits, "")


def _words(genre: int, seed: int) -> list[str]:
    """Twelve invented words of a genre."""
    random = random_generator(seed, "synthesize", "words", genre)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    return ["".join(random.choice(syllables, size=3)) for _ in range(12)]


def _sentences(seed: int) -> list[str]:
    """`_SENTENCES` texts of each genre, one genre after the other."""
    texts = []
    for genre in range(GENRES):
        words, random = np.array(_words(genre, seed)), random_generator(seed, "synthesize", "sentences", genre)
        texts += [f"Some {' '.join(random.choice(words, size=4))} that I like." for _ in range(_SENTENCES)]
    return texts


def _metadata(items: int, seed: int) -> Iterator[pa.Table]:
    """Of item i, whose genre is i % GENRES: a title of three words of the genre, a brand, the genre as category."""
    words = np.array([_words(genre, seed) for genre in range(GENRES)])  # (GENRES, 12)
    for begin in range(0, items, _ITEMS):
        numbers = np.arange(begin, min(begin + _ITEMS, items))
        random = random_generator(seed, "synthesize", "items", begin)
        genre = numbers % GENRES
        chosen = words[genre[:, None], random.integers(12, size=(len(numbers), 3))]
        yield pa.table(
            {
                "parent_asin": _ids("I", numbers),
                "title": [" ".join(three) for three in chosen.tolist()],
                "store": words[genre, random.integers(12, size=len(numbers))],
                "categories": [[f"genre {of_item}"] for of_item in genre.tolist()],
            }
        )
