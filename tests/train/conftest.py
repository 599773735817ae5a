"""Tests that need torch: run with the train environment's Python, skipped by name elsewhere."""

import importlib.util

import pytest

MISSING = "torch is not installed: make train-env"


def pytest_configure(config):
    # Brevitas says so of a package it can use but does not need; torch deprecates what its exporter uses.
    config.addinivalue_line("filterwarnings", "ignore:fast_hadamard_transform package not found")
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:(torch|brevitas|copyreg).*")
    config.addinivalue_line("filterwarnings", "ignore::FutureWarning:(torch|brevitas|copyreg).*")


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec("torch") is None:
        for item in items:
            if "tests/train" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=MISSING))
