"""The weights that Brevitas' authors published: fetched once, checked by what is known of their checksum.

Their files carry the first eight digits of their sha256 in their names, as torch's hub has it; that is
pinned. It tells a damaged file from a whole one. What stands in the file is not trusted any further:
it is read as tensors only, and their names and shapes must be the network's.
"""

from __future__ import annotations

from pathlib import Path

from labd_host.machine import places
from labd_host.machine.downloads import DownloadLimits, download
from labd_host.networks.table import NetworkSpec
from labd_shared.digest import file_sha256
from labd_shared.errors import DataMissing, DigestMismatch, UsageError

LIMITS = DownloadLimits(file_s=900.0, file_bytes=1 << 28)  # the largest, of lfc, has some 12 MB


def fetch(network: NetworkSpec, limits: DownloadLimits = LIMITS) -> Path:
    """The file of the published weights of *network*, downloaded first where it is not in the cache.

    Raises:
        UsageError: nobody published any.
        DataMissing: they are neither here nor to be had; says what to put where.
        DigestMismatch: the file here has another checksum.
        SetupError: the cache cannot be written.
    """
    if not network.pretrained:
        raise UsageError(
            f"there are no published weights of {network.name}",
            fix=f"leave out --pretrained: labd train {network.typed}",
        )
    path = places.cache() / "pretrained" / Path(network.pretrained).name
    digits = checksum(network)
    if not path.is_file() and (failures := download([network.pretrained], path, digits, limits)):
        raise DataMissing(
            f"the published weights of {network.name} are not in {path.parent} and could not be downloaded "
            f"({'; '.join(failures)})",
            fix=f"fetch {network.pretrained} where there is a network, and put it into {path.parent}",
            network=network.name,
        )
    if not (found := file_sha256(path)).startswith(digits):
        raise DigestMismatch(
            f"{path} has sha256 {found[:12]}..., its name says {digits}...", fix=f"remove {path}, then again"
        )
    return path


def checksum(network: NetworkSpec) -> str:
    """The digits of the sha256 of *network*'s published weights that are known: those in the file's name."""
    return Path(network.pretrained).stem.rpartition("-")[2]
