"""What is measured: each work, the libraries that do it in turn, their parameters, and the bar."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Block = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Attributes:
        what: is timed, in a sentence without a verb.
        libraries: `with_<library>.py` each; the first is what is compared with the others.
        block: of params.yaml, from which the parameters are; empty for none.
        changes: what takes the place of the block's values.
        epochs: to train for; 0 where that is not asked for.
        runs: of each library.
        borrowed: library -> the work whose rows are taken, all epochs of each together, in place of a run.
        measure: "seconds", or "users_a_second" or "share"; or "curve", which has no bar.
        against: the ratio is to this library, or to the "fastest" of the others; empty where the measure itself counts.
        bar: what the ratio, or the measure, must reach; of seconds, must not exceed.
    """

    title: str
    what: str
    libraries: tuple[str, ...]
    block: str = ""
    changes: tuple[tuple[str, Any], ...] = ()
    epochs: int = 0
    runs: int = 3
    borrowed: tuple[tuple[str, str], ...] = ()
    measure: str = "seconds"
    against: str = ""
    bar: float = 1.0

    def parameters(self, params: Block) -> dict[str, Any]:
        """What the programs are told, from all of params.yaml."""
        return dict(params[self.block] or {}) | dict(self.changes) if self.block else {}


# Other libraries know nothing of recency, and give a history's items equal weight.
_PLAIN = (("recency", 0.0), ("target_recency", 0.0))

WORKS: dict[str, Work] = {
    "multvae": Work(
        title="Mult-VAE, an epoch",
        what="an epoch of training, the median of nine after the first",
        libraries=("hybridvae", "recbole"),
        block="multvae",
        changes=_PLAIN,
        epochs=10,
        against="recbole",
        bar=2.5,
    ),
    "lightgcn": Work(
        title="LightGCN, an epoch",
        what="an epoch of training, the median of three after the first",
        libraries=("hybridvae", "recbole"),
        block="lightgcn",
        epochs=4,
        against="fastest",
        bar=2.0,
    ),
    "sasrec": Work(
        title="SASRec, an epoch",
        what="the first epoch of training, with the softmax over all items",
        libraries=("hybridvae", "recbole", "rectools"),
        block="sasrec",
        epochs=1,
        runs=2,
        against="fastest",
        bar=2.0,
    ),
    "ease": Work(
        title="EASE, the fit",
        what="the whole fit; SciPy is the inverse alone, of a matrix of that size in double precision",
        libraries=("hybridvae", "scipy", "recbole", "lenskit", "rectools"),
        block="ease",
        changes=(("recency", 0.0),),
        runs=2,
        against="scipy",
        bar=1 / 1.2,
    ),
    "judge": Work(
        title="Judging a VAE",
        what="the full ranking of the validation part, all users",
        libraries=("hybridvae", "recbole"),
        block="multvae",
        changes=_PLAIN,
        epochs=1,
        runs=2,
        against="recbole",
        bar=30.0,
    ),
    "hybridvae": Work(
        title="HybridVAE to 98 % of its best",
        what="from the start to the first validation at 98 % of the best figure; RecBole: ten epochs of its Mult-VAE",
        libraries=("hybridvae", "recbole"),
        block="hybridvae",
        runs=1,
        borrowed=(("recbole", "multvae"),),
        against="recbole",
        bar=1.0,
    ),
    **{
        f"quality_{name}": Work(
            title=f"{title} to 98 % of its best",
            what="from the start to the first validation at 98 % of the best figure",
            libraries=("hybridvae",),
            block=name,
            runs=1,
            measure="curve",
        )
        for name, title in (("multvae", "Mult-VAE"), ("lightgcn", "LightGCN"), ("sasrec", "SASRec"))
    },
    "export": Work(
        title="Lists of all users",
        what="the 20 best unseen items of every user by HybridVAE, in a Parquet file",
        libraries=("hybridvae",),
        block="hybridvae",
        changes=(("ease_weight", 0.1),),
        epochs=1,
        measure="users_a_second",
        bar=10_000,
    ),
    "products_multvae": Work(
        title="Matrix products in Mult-VAE's training",
        what="seconds of the products alone, on operands that lie ready, over those of an epoch",
        libraries=("hybridvae",),
        block="multvae",
        runs=1,
        measure="share",
        bar=0.6,
    ),
    "products_hybridvae": Work(
        title="Matrix products in HybridVAE's training",
        what="seconds of the products alone, on operands that lie ready, over those of an epoch",
        libraries=("hybridvae",),
        block="hybridvae",
        changes=(("ease_weight", 0.0),),
        runs=1,
        measure="share",
        bar=0.6,
    ),
    "repro": Work(
        title="`dvc repro` with nothing to do",
        what="the whole command, the median of three",
        libraries=("dvc",),
        runs=1,
        bar=3.0,
    ),
}

NOT_MEASURED = {
    "Cornac": "2.3.0 asked for a newer C++ library (GLIBCXX_3.4.32) than there was where the lock was made",
    "implicit": "the iALS of this project is implicit's own",
    "Item-KNN": "no library's fit was timed",
    "GPU": "the table is of a CPU alone",
}
