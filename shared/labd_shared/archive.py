"""Zip archives whose bytes say their content and nothing else: no dates, no machine."""

import zipfile

FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip archive can hold
UNIX = 3


def add_member(
    archive: zipfile.ZipFile, name: str, data: bytes, compression: int = zipfile.ZIP_DEFLATED
) -> None:
    """Add *data* as *name*, readable for all: the same members in the same order give the same archive."""
    entry = zipfile.ZipInfo(name, FIXED_DATE)
    entry.compress_type = compression
    entry.external_attr = 0o644 << 16
    entry.create_system = UNIX
    archive.writestr(entry, data)
