"""What the end-to-end tests share: both kinds of sandbox, as `make test` sets them up."""

import pytest

ENGINES = ("bubblewrap", "podman")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each kind of sandbox that this machine's set-up provides."""
    return request.param
