"""Which modules decide a result, read from the import statements of the code itself.

DVC must run a stage again when a module that decides its result has changed, and an interrupted fit must not go on from
a state that was written by different code. `deps` in dvc.yaml must match what this module finds, which a test checks.
The stage `fingerprint` calls it, and `models/_training.py` does when a fit looks for an earlier state.
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

from hybridvae.errors import BadParameterError, quoted

PACKAGE = Path(__file__).resolve().parent

# Modules whose change leaves every figure as it is, and the reason.
WITHOUT_EFFECT = {
    "config": "hands on the parameters of a block as they stand, or refuses them",
    "costs": "notes seconds and memory beside the results",
    "dependencies": "finds these modules and computes no figure",
    "errors": "words for people",
    "files": "reads and writes values as they are",
    "freshness": "takes figures of other runs away and computes none",
    "memory": "refuses a fit that does not fit, or lets it be; HybridVAE says where it leaves out EASE",
    "models/_base": "the protocol of the models, which computes nothing",
    "progress": "a line on the terminal",
    "refusal": "hands on why a model has no results",
    "stage.py": "hands parameters and folders to the stage scripts",
}


def imported(file: Path) -> set[Path]:
    """The modules of this package, and scripts beside the file, that a Python file imports anywhere.

    Imports under `if TYPE_CHECKING` do not count. A name that the package itself exports counts as the module that it
    comes from; `import hybridvae` counts as all of those.

    Raises:
        SyntaxError: the file is not Python.
    """
    found: set[Path] = set()
    for name in _imports(ast.parse(file.read_text(encoding="utf-8")), file):
        if name == PACKAGE.name:
            found |= set(_exports().values())
        elif (module := _module(name) or _exports().get(name.removeprefix(f"{PACKAGE.name}."))) is not None:
            found.add(module)
        elif (beside := file.parent / f"{name}.py").is_file():
            found.add(beside)
    return found


def reached(file: Path) -> list[Path]:
    """A Python file, the modules that it imports, those that they import, and so on, but for those without effect."""
    found: set[Path] = set()
    waiting = [file.resolve()]
    while waiting:
        module = waiting.pop()
        if module in found or name_of(module) in WITHOUT_EFFECT:
            continue
        found.add(module)
        others = imported(module)
        if module.parent == PACKAGE / "models" and PACKAGE / "models" / "__init__.py" in others:
            others |= set(_models().values())  # which of them it creates or loads is not known before it runs
        waiting += others
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
    known = _models()
    if name not in known:
        named = ", ".join(known)
        raise BadParameterError(f"there is no model {quoted(name)}: `models` in params.yaml may name {named}.")
    return known[name]


def model_names() -> list[str]:
    """The models that there are, whether params.yaml names them or not."""
    return list(_models())


def name_of(module: Path) -> str:
    """A module as a short name, e.g. "models/_vae"; a file of another place by its own, e.g. "validate.py"."""
    return module.relative_to(PACKAGE).with_suffix("").as_posix() if module.is_relative_to(PACKAGE) else module.name


def _models() -> dict[str, Path]:
    return {file.stem: file for file in sorted((PACKAGE / "models").glob("[!_]*.py"))}


def _imports(tree: ast.AST, file: Path) -> Iterator[str]:
    """Dotted names of what is imported: of `from a import b` a.b where that is a module or exported, else a."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _imports(ast.Module([other], []), file)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = _package(node, file)
            for alias in node.names:
                inner = f"{package}.{alias.name}"
                yield inner if package == PACKAGE.name or _module(inner) else package
        else:
            yield from _imports(node, file)


def _package(node: ast.ImportFrom, file: Path) -> str:
    """From where a statement imports, with the dots of a relative import written out."""
    if not node.level or not file.is_relative_to(PACKAGE):
        return node.module or ""
    folder = file.parents[node.level - 1].relative_to(PACKAGE.parent)
    return ".".join([*folder.parts, *([node.module] if node.module else [])])


def _exports() -> dict[str, Path]:
    """Name -> module of what the package exports, as its stub has it."""
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    found: dict[str, Path] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            module = _module(f"{PACKAGE.name}.{node.module}")
            found |= {alias.name: module for alias in node.names if module is not None}
    return found


def _module(name: str) -> Path | None:
    """The file of a module of this package but for the package itself; None for what is none."""
    package, *parts = name.split(".")
    if package != PACKAGE.name or not parts:
        return None
    path = PACKAGE.joinpath(*parts)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None
