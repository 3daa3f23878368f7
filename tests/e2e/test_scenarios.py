"""The five acceptance scenarios: real CLIs in a real sandbox, scripted models."""

import pytest

from nanoclaw.selftest import SCENARIOS, Scenario, run_scenario

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_scenario(scenario: Scenario, engine: str) -> None:
    result = await run_scenario(scenario, engine)
    assert result.passed, result.why
