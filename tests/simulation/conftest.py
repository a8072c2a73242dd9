"""Hundreds of runs of each test: what only costs time is switched off around them."""

import gc
import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def swift(request: pytest.FixtureRequest) -> Iterator[None]:
    """No garbage collection through all that pytest holds; no log of deaths that are wanted, unless one seed is replayed."""
    gc.collect()
    gc.freeze()
    if request.config.getoption("--seed") is None:
        logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    gc.unfreeze()
