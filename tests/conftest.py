"""Fixtures that every test may use, and how properties are tried."""

import os

import pytest
from hypothesis import settings

# How long an example takes says nothing on a busy machine. CI tries the same examples every time, so that what is red
# there is red because of the change; developers' runs look further.
settings.register_profile("plain", deadline=None, derandomize="CI" in os.environ)
settings.register_profile("thorough", deadline=None, max_examples=3000)
settings.load_profile("plain")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The long version of what streams messages through WhatsApp while something is killed."""
    parser.addoption("--streamed", type=int, default=0, help="messages, instead of some thirty")


@pytest.fixture
def anyio_backend() -> str:
    """Everything runs on asyncio."""
    return "asyncio"
