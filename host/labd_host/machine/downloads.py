"""Files from the network: a pinned checksum, a progress bar, an end to every wait."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labd_shared.digest import file_sha256
from labd_shared.errors import SetupError

CHUNK_BYTES = 1 << 16
SHA256_DIGITS = 64


@dataclass(frozen=True)
class DownloadLimits:
    """How long, and how much, a download may take.

    Attributes:
        connect_s: Until a mirror answers.
        silence_s: Without a byte.
        file_s: For one file, however steadily it trickles.
        file_bytes: More than any file has.
    """

    connect_s: float = 10.0
    silence_s: float = 30.0
    file_s: float = 1800.0
    file_bytes: int = 1 << 30


LIMITS = DownloadLimits()


def download(urls: Sequence[str], target: Path, sha256: str, limits: DownloadLimits = LIMITS) -> list[str]:
    """Fetch *target* from the first of *urls* that has it.

    Args:
        urls: In the order of asking.
        target: It gets this name when it is whole and its checksum right.
        sha256: Its checksum, or the first digits of it where no more are known.
        limits: Of every address.

    Returns:
        Why each address failed; empty when one did not.

    Raises:
        SetupError: the folder cannot be written.
    """
    import pooch
    import requests
    import urllib3.exceptions

    pooch.get_logger().setLevel("WARNING")  # the bar says it
    whole = f"sha256:{sha256}" if len(sha256) == SHA256_DIGITS else None
    failures = []

    def receive(url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        _receive(url, Path(output_file), limits)
        if not file_sha256(Path(output_file)).startswith(sha256):
            raise ValueError("another checksum")

    for url in urls:
        try:
            pooch.retrieve(url, known_hash=whole, fname=target.name, path=target.parent, downloader=receive)
            return []
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, _TooLong) as error:
            failures.append(f"{url}: {_reason(error, limits)}")
        except OSError as error:
            raise SetupError(
                f"{target.name} cannot be written to {target.parent}: {error}",
                fix=f"make room and let {target.parent} be writable, or set LABD_CACHE to another folder",
            ) from error
    return failures


class _TooLong(Exception):
    """A download took longer, or sent more, than any of these files can."""


def _receive(url: str, target: Path, limits: DownloadLimits) -> None:
    """Fetch *url* into *target*, with a bar; every wait has a deadline, the whole has one too."""
    import requests

    deadline_s = time.monotonic() + limits.file_s
    with (
        requests.get(
            url,
            stream=True,
            timeout=(limits.connect_s, limits.silence_s),
            headers={"Accept-Encoding": "identity"},  # the .gz as it is
        ) as answer,
        target.open("wb") as handle,
    ):
        answer.raise_for_status()
        with _bar(Path(url).name, int(answer.headers.get("content-length", 0)) or None) as advance:
            received_bytes = 0
            while chunk := answer.raw.read1(CHUNK_BYTES):
                handle.write(chunk)
                advance(len(chunk))
                received_bytes += len(chunk)
                if time.monotonic() > deadline_s or received_bytes > limits.file_bytes:
                    raise _TooLong(f"{received_bytes} bytes came within {limits.file_s:g} s and no end")


@contextlib.contextmanager
def _bar(title: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; a plain line where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        size = f" ({total_bytes / 1e6:.1f} MB)" if total_bytes else ""
        console.print(f"downloading {title}{size}", highlight=False, soft_wrap=True)
        yield lambda count_bytes: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"downloading {title}", total=total_bytes)
        yield lambda count_bytes: progress.advance(task, count_bytes)


def _reason(error: Exception, limits: DownloadLimits) -> str:
    """One line of what requests says in many."""
    import requests

    if isinstance(error, requests.ConnectTimeout):
        return f"no answer within {limits.connect_s:g} s"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.HTTPError):
        return f"answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
        return "sent a file with another checksum"
    return (str(error).splitlines() or [type(error).__name__])[0]
