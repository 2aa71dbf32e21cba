"""Amazon Beauty 2014, 5-core, as published figures use it: every rating is a positive."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from command import REPOSITORY

from hybridvae.arrays import arrays_sha256
from hybridvae.config import Block
from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.interactions import Interactions, Targets, read_interactions
from hybridvae.data.sources import declared
from hybridvae.data.splitting import SplitConfig, Ties, split
from hybridvae.errors import HybridVAEError
from hybridvae.files import read_frame, sha256_of, write_frame
from hybridvae.seeds import random_generator

CLEAN = CleanConfig(positive_rating=1.0)
_SEED = SplitConfig().seed  # of the parts of 4:3:3


def source() -> Block:
    """The block of the data set in sources.yaml: names of the files and their hashes."""
    return declared(REPOSITORY.catalogue, "beauty").block


def clean_beauty(given: Path, work: Path, *, metadata: bool) -> None:
    """Clean the files that sources.yaml declares into the folder `work/clean`.

    Args:
        given: the reviews file, or the folder that it lies in.
        metadata: whether to take the items' titles, brands and categories too, from the file beside it.

    Raises:
        HybridVAEError: a file is not there, or its sha256 is not the declared one.
    """
    block = source()
    (work / "raw").mkdir(parents=True)
    for role in ("reviews", "metadata") if metadata else ("reviews",):
        beside = given if given.is_dir() else given.parent
        file = given if role == "reviews" and not given.is_dir() else beside / block[role]
        if not file.is_file():
            raise HybridVAEError(f"{file} does not exist: give the folder in which {block[role]} lies.")
        if sha256_of(file) != block[f"{role}_sha256"]:
            raise HybridVAEError(f"{file} is another file than the one of sources.yaml's sources.beauty: wrong sha256.")
        (work / "raw" / f"{role}.jsonl.gz").symlink_to(file.resolve())
    clean(work / "raw", work / "clean", CLEAN)


def leave_one_out(cleaned: Path, into: Path, ties: Ties) -> None:
    """Split what was cleaned into `into/fit` and `into/test`.

    Of each user's items the last is for test, and the one before it for validation.

    Args:
        ties: which of equal timestamps is the last.
    """
    split(cleaned, into, SplitConfig(strategy="leave_one_out", ties=ties))


def random_433(cleaned: Path, into: Path) -> None:
    """Split what was cleaned into `into/fit` and `into/test`, with no regard to time.

    Of each user's items, which are at least three, 40 % drawn at random train, 30 % are for validation and 30 % for
    test, rounded to whole items, of which each part has one.
    """
    leave_one_out(cleaned, into, "drawn")
    rows = pd.concat([read_frame(into / part / "rows.parquet") for part in ("fit", "test")])
    draws = rows.assign(draw=random_generator(_SEED, "literature", "4:3:3").random(len(rows))).groupby("user_index")
    place, length = draws["draw"].rank() - 1, draws["draw"].transform("size")
    part = (place >= np.floor(0.4 * length + 0.5)).astype(np.int8) + (place >= np.floor(0.7 * length + 0.5))
    rows = rows.assign(part=part.to_numpy(), target=part.to_numpy() > 0)
    rows = rows.sort_values(["user_index", "position"], kind="stable")  # as `split` writes them, and readers expect
    write_frame(into / "fit" / "rows.parquet", rows[rows["part"] < 2])
    write_frame(into / "test" / "rows.parquet", rows[rows["part"] == 2])


@dataclass(frozen=True)
class Parts:
    """What one split gives a model: what it is fitted on, what it is chosen by, and what it is asked at test.

    Attributes:
        train: the training part; its ratings are what validation leaves out of the ranking.
        known: its ratings, those of training and validation part, are left out of the ranking at test; its histories
            are those that a model which takes histories recommends by then.
        validation, test: the targets. They have no negatives: only the full ranking is asked for.
    """

    train: Interactions
    known: Interactions
    validation: Targets
    test: Targets

    @property
    def sha256(self) -> str:
        """A hash (64 hexadecimal digits) over all that a split decides."""
        matrices = (self.train.histories, self.train.ratings, self.known.histories, self.known.ratings)
        targets = (self.validation.users, self.validation.items, self.test.users, self.test.items)
        inside = [array for matrix in matrices for array in (matrix.indptr, matrix.indices, matrix.data)]
        return arrays_sha256(np.array(self.train.positives.shape), *inside, *targets)


def read_parts(folder: Path, *, grown: bool) -> Parts:
    """What `leave_one_out` or `random_433` wrote.

    Args:
        grown: whether the histories at test hold the validation items too.
    """
    fit, test = folder / "fit", folder / "test"
    train, known = read_interactions(fit, upto="train"), read_interactions(fit, upto="validation")
    if not grown:
        known = replace(known, histories=train.histories)
    return Parts(train, known, _targets(fit, 1), _targets(test, 2))


def _targets(folder: Path, part: int) -> Targets:
    rows = read_frame(folder / "rows.parquet")
    rows = rows[rows["target"] & (rows["part"] == part)].sort_values(["user_index", "item_index"])
    users, items = rows["user_index"].to_numpy(), rows["item_index"].to_numpy()
    return Targets(users, items, np.full((len(rows), 1), -1, dtype=np.int32), part)
