"""Fixtures that every test may use."""

import pytest
from hypothesis import settings

settings.register_profile("plain", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("plain")


@pytest.fixture
def anyio_backend() -> str:
    """Everything runs on asyncio."""
    return "asyncio"
