"""Files that are read back, damaged: refused in a sentence, or without effect on the result."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from faults.project import command, git_project, make_project, prepare, pretend_to_encode, run_all, stage
from faults.running import Check, Ended, Fault, Results, Tried, fork, forked, in_workers, random_of, run_script
from hybridvae.data.downloads import download_path
from hybridvae.errors import HybridVAEError, in_one_sentence
from hybridvae.files import read_yaml, sha256_of, write_text
from hybridvae.service import read_engine
from hybridvae.service.engine import Refused

MODELS = ("popularity", "itemknn", "ease", "ease_text", "sasrec_text", "alpharec", "multvae", "lightgcn", "hybridvae")
ADDRESS = "http://127.0.0.1:9/reviews.jsonl"  # where nobody answers: the download is in the cache


@dataclass(frozen=True)
class Read:
    """A file that is read back, who reads it, and what comes of that.

    Attributes:
        steps: stages with their arguments; "hybridvae" for the command line, "serve" for what the service reads.
        results: the files or folders that the steps write, as patterns; what is printed counts where there are none.
        shared: whether the file lies in the cache folder rather than in the project.
    """

    file: str
    steps: tuple[tuple[str, ...], ...]
    results: tuple[str, ...] = ()
    shared: bool = False


def _of_model(model: str, file: str) -> Read:
    return Read(f"data/train/tiny/{model}/{file}", (("evaluate", model),), (f"metrics/test/{model}.json",))


RECOMMEND = ("hybridvae", "recommend", "--history", "i001,i003")
POPULAR = (("validate", "popularity"), ("train", "popularity"), ("evaluate", "popularity"))
READS = (
    *(_of_model(model, "model.safetensors") for model in MODELS),
    *(_of_model(model, "config.json") for model in ("ease", "multvae", "hybridvae")),
    *(
        Read(f"data/train/tiny/hybridvae/{file}", (RECOMMEND,))
        for file in ("checkpoint.json", "items.parquet", "model.safetensors", "config.json")
    ),
    *(
        Read(file, (("serve",),))
        for file in (
            *("data/train/tiny/hybridvae/model.safetensors", "data/split/tiny/fit/rows.parquet"),
            *("data/split/tiny/test/rows.parquet", "data/embed/tiny/items.safetensors"),
        )
    ),
    *(
        Read(f"data/split/tiny/{file}", POPULAR, ("metrics/validation/popularity.json", "metrics/test/popularity.json"))
        for file in (
            *("fit/rows.parquet", "fit/items.parquet", "fit/users.parquet", "fit/candidates.parquet"),
            *("test/rows.parquet", "test/candidates.parquet"),
        )
    ),
    *(
        Read(f"data/clean/tiny/{file}", (("split",),), ("data/split/**/*",))
        for file in ("reviews.parquet", "items.parquet")
    ),
    Read(
        "data/embed/tiny/items.safetensors",
        (("validate", "content"), ("train", "content")),
        ("metrics/validation/content.json",),
    ),
    Read("data/validate/tiny/multvae/fit.json", (("train", "multvae"),), ("data/train/tiny/multvae/*",)),
    *(
        Read(f"data/evaluate/tiny/ease/{file}", (("compare",),), ("metrics/comparison.json",))
        for file in ("users.parquet", "targets.parquet")
    ),
    *(
        Read(
            f"metrics/test/{model}.json",
            (("compare",), ("hybridvae", "table")),
            ("metrics/comparison.json", "plots/comparison.csv"),
        )
        for model in ("ease", "hybridvae")
    ),
    Read("metrics/comparison.json", (("hybridvae", "table"),)),
    Read("metrics/fetch.json", (("train", "popularity"),), ("data/train/tiny/popularity/*",)),
    Read("metrics/validation/popularity.json", (("train", "popularity"),), ("data/train/tiny/popularity/*",)),
    Read("params.yaml", POPULAR, ("metrics/fetch.json",)),  # another value may be meant, so the result may be another
    Read("params.sha256", POPULAR, ("metrics/test/popularity.json",), shared=True),
    Read("sources.yaml", (("fetch",),), ("data/raw/**/*",)),
    Read("costs.jsonl", (("validate", "popularity"), ("hybridvae", "report")), (), shared=True),
    Read("vectors/*.sqlite", (("embed",),), ("data/embed/tiny/items.safetensors",), shared=True),
    Read("downloads/**/reviews.jsonl", (("fetch",),), ("data/raw/**/*",), shared=True),
    Read("fits/*/last.safetensors", (("validate", "multvae"),), ("metrics/validation/multvae.json",), shared=True),
    Read("fits/*/best*.safetensors", (("validate", "multvae"),), ("metrics/validation/multvae.json",), shared=True),
)


def _flipped(random: Random, content: bytes, bits: int) -> bytes:
    changed = bytearray(content)
    for _ in range(bits if content else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _holed(random: Random, content: bytes) -> bytes:
    start = random.randrange(max(1, len(content)))
    hole = content[start : start + max(1, len(content) // 10)]
    return content[:start] + b"\0" * len(hole) + content[start + len(hole) :]


Damage = Callable[[Random, bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "a bit": lambda random, content: _flipped(random, content, 1),
    "20 bits": lambda random, content: _flipped(random, content, 20),
    "cut": lambda random, content: content[: random.randrange(1, max(2, len(content)))],
    "empty": lambda random, content: b"",
    "zeros": lambda random, content: b"\0" * len(content),
    "noise": lambda random, content: random.randbytes(len(content)),
    "a hole": _holed,
    "longer": lambda random, content: content + random.randbytes(100),
    "null": lambda random, content: random.choice([b"null", b"[]", b"{}", b"1", b'"x"', b"{", b"[" * 100_000]),
    "gone": lambda random, content: b"",
}
ROUNDS = ("a bit", "20 bits", "", "")  # what befalls each file in turn; without a name any
CASES = len(ROUNDS) * len(READS)
TRIED = "files that are read back, damaged"
COUNTS = "an error without a sentence for people; another result than of the undamaged file, without a word"


def run(cases: Sequence[int], seed: int, work: Path) -> Results:
    """A case is a file with one damage; each file comes up in each round."""
    yield from in_workers(partial(checker, seed), cases, work / "damage")


def checker(seed: int, folder: Path) -> Check:
    """What checks a case; it makes a project in which each stage has run, and what an interrupted fit leaves."""
    prepare()
    pretend_to_encode()
    base = folder / "base"
    os.environ["HYBRIDVAE_CACHE"] = str(base / "cache")
    make_project(
        base / "project", folder / "data", models=(*MODELS, "content"), multvae={"epochs": 100, "patience": 100}
    )
    sources = read_yaml(base / "project/sources.yaml")
    block = sources["sources"]["tiny"]
    download = download_path(ADDRESS, base / "cache/downloads/tiny")
    download.parent.mkdir(parents=True)
    shutil.copy(block["reviews"], download)
    block |= {"kind": "url", "reviews": ADDRESS}
    for key in ("metadata", "metadata_sha256"):
        del block[key]
    write_text(base / "project/sources.yaml", json.dumps(sources))
    git_project(base / "project")
    run_all(base / "project", folder, models=(*MODELS, "content"))
    _interrupt(base / "project", base / "cache", folder)
    expected: dict[int, dict[str, str]] = {}

    def check(case: int) -> Tried:
        which = case % len(READS)
        if which not in expected:
            ended, expected[which] = _read(READS[which], base, folder)
            if ended.code != 0:
                return Tried("failed", [Fault("undamaged files are refused", ended.said[-300:])])
        random = random_of(seed, "damage", case)
        damage = ROUNDS[case // len(READS) % len(ROUNDS)] or random.choice(list(DAMAGES))
        ended, found = _read(READS[which], base, folder, lambda path: _damage(path, damage, random))
        label = f"{READS[which].file}, {damage}"
        faults = [Fault(fault.kind, f"{label}: {fault.said}") for fault in ended.faults()]
        if ended.code != 0:
            return Tried("refused", faults)
        if found == expected[which]:
            return Tried("no effect", faults)
        if "warning: " not in ended.said:
            faults.append(Fault(f"another result without a word: {READS[which].file}", label))
        return Tried("another result", faults)

    return check


def _interrupt(project: Path, cache: Path, folder: Path) -> None:
    """Leave the state of a fit, as a kill does once there is one."""
    pid = fork(run_script(project / "stages/validate.py", "multvae"), folder)
    while not (any(cache.glob("fits/*/last.safetensors")) and any(cache.glob("fits/*/best*.safetensors"))):
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise HybridVAEError("the fit that was to be interrupted ended by itself")
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _read(
    read: Read, base: Path, folder: Path, damage: Callable[[Path], None] | None = None
) -> tuple[Ended, dict[str, str]]:
    """What comes of reading a file, in a copy of everything: how the last step ended, and hashes of the results."""
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(base, case)
    os.environ["HYBRIDVAE_CACHE"] = str(case / "cache")
    path = next(iter(sorted((case / ("cache" if read.shared else "project")).glob(read.file))))
    if damage is not None:
        damage(path)
    printed, said = [], ""
    for step in read.steps:
        if step[0] == "serve":
            ended = forked(partial(_as_served, case / "project"), folder)
        elif step[0] == "hybridvae":
            ended = forked(command(case / "project", *step[1:]), folder)
        else:
            ended = stage(case / "project", *step, said=folder)
        if ended.faults() or ended.code != 0:
            return ended, {}
        said += ended.said
        printed.append(ended.out if step[0] in ("hybridvae", "serve") else "")
    files = sorted({file for pattern in read.results for file in (case / "project").glob(pattern) if file.is_file()})
    found = {str(file.relative_to(case)): sha256_of(file) for file in files}
    return replace(ended, said=said), found | ({} if read.results else {"printed": "\n".join(printed)})


def _as_served(project: Path) -> None:
    """Print what the service would answer: everyone's list, and the items whose texts are nearest to one's."""
    with in_one_sentence("serve"):
        engine = read_engine(project, model="hybridvae")
        known = engine.known
        lists = engine.load("hybridvae").recommendations.for_users(np.arange(known.n_users), 5)
        print(known.users[lists.items[:, 0] >= 0], known.items[lists.items], lists.scores)
        try:
            print(engine.similar(engine.vectors[0], 5, without=0))
        except Refused as error:  # as a request would be answered
            raise HybridVAEError(error.message) from None


def _damage(path: Path, how: str, random: Random) -> None:
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[how](random, path.read_bytes()))
