"""Registers the emulated device as soon as a program imports pynq, without changing pynq.

A .pth line imports this when Python starts on a virtual board, so it must cost next to nothing: a
finder waits for ``pynq.pl_server``, where pynq's own devices register themselves, and imports
`emulated_device` right after it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing typing would take longer than the rest of Python's start
if TYPE_CHECKING:
    from typing import Any

TRIGGER = "pynq.pl_server"


class _Finder:
    """A meta path finder for one module."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name != TRIGGER:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            _follow(spec.loader)
        return spec


def _follow(loader: Any) -> None:
    """Make *loader* import the device after it has run the module."""
    run = loader.exec_module

    def run_and_register(module: Any) -> None:
        run(module)
        from . import emulated_device  # noqa: F401 - importing it registers it

    loader.exec_module = run_and_register


def install() -> None:
    """Wait for pynq. Twice is harmless."""
    if _Finder not in sys.meta_path and TRIGGER not in sys.modules:
        sys.meta_path.insert(0, _Finder)


install()
