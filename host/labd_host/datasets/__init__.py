"""Data sets by what a user calls them: those of the table, and one's own."""

from labd_host.datasets.entering import PIXELS, Entering
from labd_host.datasets.named import (
    FORMS,
    RANDOM,
    SplitFrames,
    classes_of,
    describe,
    is_named_here,
    is_own,
    keep,
    kept_root,
    load,
    located,
    read,
    with_classes,
)
from labd_host.datasets.official import SOURCES, Source, cache_folder, find, load_official, present

__all__ = [
    "FORMS",
    "PIXELS",
    "RANDOM",
    "SOURCES",
    "Entering",
    "Source",
    "SplitFrames",
    "cache_folder",
    "classes_of",
    "describe",
    "find",
    "is_named_here",
    "is_own",
    "keep",
    "kept_root",
    "load",
    "load_official",
    "located",
    "present",
    "read",
    "with_classes",
]
