"""Fixtures that every test can use: the shared folder of real data, where it is there."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `reference` tests where ../shared is absent, unless TRISTREAM_REQUIRE_REFERENCE says it must be there."""
    if SHARED.is_dir() or os.environ.get("TRISTREAM_REQUIRE_REFERENCE"):
        return
    skip = pytest.mark.skip(reason=f"reads {SHARED}, which is not here")
    for item in items:
        if "reference" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, sounds, flow and weights."""
    return SHARED
