"""Fixtures of the contract suites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.store_factory import FACTORIES, Store, StoreFactory


@pytest.fixture(params=sorted(FACTORIES))
async def store_factory(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreFactory]:
    factory = FACTORIES[request.param](tmp_path)
    yield factory
    await factory.close()


@pytest.fixture
async def store(store_factory: StoreFactory) -> Store:
    return await store_factory.open()
