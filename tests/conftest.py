"""The order of the tests: files that take minutes begin, so that no worker waits for the other at the end."""

from __future__ import annotations

import pytest

_SLOWEST = [
    "test_pipeline",
    "test_crosses",
    "test_audit",
    "test_models",
    "test_tracking",
    "test_training",
    "test_growing",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: the tests of a file stay in their order, and all other files in theirs."""
    places = {name: place for place, name in enumerate(_SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
