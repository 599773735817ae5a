"""Files over SFTP: sent fast on a quick link and without starving the rest on a slow one, or fetched."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labd_shared.errors import ArtifactError

SMALLEST_BURST_BYTES, LARGEST_BURST_BYTES = 32 << 10, 1 << 20
QUICK_BURST_S, SLOW_BURST_S = 0.2, 1.0  # a burst grows and shrinks to take about so long
SFTP_REQUEST_BYTES = 32 << 10  # what paramiko sends in one request


def send(
    client: Any, local: Path | bytes, remote: str, *, offset: int, on_bytes: Callable[[int], None] | None
) -> int:
    """Write a file, or its rest from *offset* on, to *remote*; returns the bytes sent.

    Args:
        client: A paramiko SFTP client with a deadline on its channel.
        local: A file, or what would be in one.
        remote: Path there; with an offset the file must exist.
        offset: Where to go on, in bytes.
        on_bytes: Told each number of bytes that arrived.
    """
    sent, burst = 0, SMALLEST_BURST_BYTES
    with (
        io.BytesIO(local) if isinstance(local, bytes) else local.open("rb") as source,
        client.open(remote, "r+b" if offset else "wb") as target,
    ):
        source.seek(offset)
        target.seek(offset)
        while chunk := source.read(burst):
            started_s = time.monotonic()
            _write_burst(target, chunk)
            sent += len(chunk)
            if on_bytes:
                on_bytes(len(chunk))
            took_s = time.monotonic() - started_s
            if took_s < QUICK_BURST_S:
                burst = min(burst * 2, LARGEST_BURST_BYTES)
            elif took_s > SLOW_BURST_S:
                burst = max(burst // 2, SMALLEST_BURST_BYTES)
    return sent


def _write_burst(target: Any, chunk: bytes) -> None:
    """Send *chunk* without waiting for each request's answer, but for all of them at its end.

    The burst has then arrived, and what waits in the link is never more than one: keep-alives get through.
    """
    head, tail = chunk[:-SFTP_REQUEST_BYTES], chunk[-SFTP_REQUEST_BYTES:]
    target.set_pipelined(True)
    if head:
        target.write(head)
    target.set_pipelined(False)
    target.write(tail)


def receive(client: Any, remote: str, *, max_bytes: int) -> bytes:
    """The content of *remote*.

    Args:
        client: A paramiko SFTP client with a deadline on its channel.
        remote: Path there.
        max_bytes: More is not read, whatever the other end says.

    Raises:
        ArtifactError: it has more.
    """
    with client.open(remote, "rb") as source:
        size = int(source.stat().st_size or 0)
        source.prefetch(min(size, max_bytes))  # otherwise each piece waits for the one before
        content: bytes = source.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ArtifactError(
            f"{remote} has {size} bytes, more than {max_bytes}", fix="look at it there; it is none of labd's"
        )
    return content
