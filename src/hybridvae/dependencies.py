"""Which modules decide a result, read from the import statements of the code itself.

DVC must run a stage again when a module that decides its result has changed, and a fit that was interrupted must not go
on from the state that other code left. dvc.yaml lists for each stage what is found here, and a test compares the two;
the stage `fingerprint` and interrupted fits call this module.
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

from hybridvae.errors import BadParameterError

PACKAGE = Path(__file__).resolve().parent

# Modules whose change leaves every figure as it is, and the reason.
WITHOUT_EFFECT = {
    "config": "takes a block of parameters as it stands, or refuses it",
    "costs": "notes seconds and memory beside the results",
    "dependencies": "finds these modules and computes no figure",
    "errors": "words for people",
    "files": "how values are written and read, not which",
    "models/__init__": "finds the file of a model by its name",
    "models/_base": "the protocol of the models, which computes nothing",
    "progress": "a line on the terminal",
}


def imported(file: Path) -> set[Path]:
    """The modules of this package that a Python file imports anywhere, except under `if TYPE_CHECKING`.

    Raises:
        SyntaxError: the file is not Python.
    """
    return {module for name in _imports(ast.parse(file.read_text(encoding="utf-8"))) if (module := _module(name))}


def reached(file: Path) -> list[Path]:
    """A Python file, the modules that it imports, those that they import, and so on, but for those without effect."""
    found: set[Path] = set()
    waiting = [file.resolve()]
    while waiting:
        module = waiting.pop()
        if module in found or name_of(module) in WITHOUT_EFFECT:
            continue
        found.add(module)
        waiting += imported(module)
    return sorted(found, key=name_of)


def fingerprint(*files: Path) -> str:
    """A hash (32 hexadecimal digits) of all that the files reach, wherever this package lies."""
    digest = hashlib.sha256()
    for module in sorted({module for file in files for module in reached(file)}, key=name_of):
        digest.update(name_of(module).encode() + b"\0" + module.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def model_file(name: str) -> Path:
    """Where the model of a name is.

    Raises:
        BadParameterError: there is none.
    """
    known = {file.stem: file for file in sorted((PACKAGE / "models").glob("[!_]*.py"))}
    if name not in known:
        raise BadParameterError(f"there is no model {name!r}: `models` in params.yaml may name {', '.join(known)}.")
    return known[name]


def name_of(module: Path) -> str:
    """A module as a short name, e.g. "models/_vae"; a file of another place by its own, e.g. "validate.py"."""
    return module.relative_to(PACKAGE).with_suffix("").as_posix() if module.is_relative_to(PACKAGE) else module.name


def _imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what is imported; of `from a import b` both a.b, which may be a module, and a."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if _module(inner) else node.module
        else:
            yield from _imports(node)


def _module(name: str) -> Path | None:
    """The file of a module of this package; None for what is none."""
    package, *parts = name.split(".")
    if package != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*parts)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None
