"""What the commands of this folder share: the repository, their arguments, and how they were called."""

import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Collection
from pathlib import Path

from hybridvae.errors import BadParameterError
from hybridvae.repository import Repository

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = Repository(ROOT)
RESULTS = ROOT / "docs" / "benchmarks"


def parse(parser: ArgumentParser, name: str) -> Namespace:
    """The arguments of the command `name`, which runs seeds on a data set: the parser's own and these three."""
    parser.add_argument("dataset", help="one of those that sources.yaml declares")
    parser.add_argument("--seeds", type=int, default=5, help="of models that draw (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default: %(default)s)")
    arguments = parser.parse_args()
    if min(arguments.seeds, arguments.jobs) < 1:
        sys.exit(f"{name}: --seeds and --jobs must be at least 1.")
    return arguments


def check_named(option: str, named: Collection[str], known: Collection[str], choice: str) -> None:
    """Refuse an option that names what there is not.

    Args:
        choice: how the sentence ends, which says what there is.

    Raises:
        BadParameterError: one of the named is not among the known.
    """
    if unknown := set(named) - set(known):
        raise BadParameterError(f"{option} names {', '.join(sorted(unknown))}: {choice}.")


def command_typed(name: str) -> str:
    """How `name` was called, for its report."""
    return shlex.join(["python", f"benchmarks/{name}.py", *sys.argv[1:]])
