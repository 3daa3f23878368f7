"""Scripted model servers on loopback: they speak OpenAI's and Anthropic's protocols and say what a script tells them.

```python
with ScriptedOpenAI(steps(shell("date"), say(lambda c: f"It is {c.tool_outputs[-1]}"))) as server:
    ...  # run Codex with OPENAI_BASE_URL=server.base_url and any key
    assert server.conversations[0].messages == ("What time is it?",)
```

By hand: `python -m nanoclaw.testing.models --help`.
"""

from nanoclaw.testing.models.anthropic import ScriptedAnthropic
from nanoclaw.testing.models.openai import ScriptedOpenAI
from nanoclaw.testing.models.script import (
    USAGE,
    Conversation,
    FaultKind,
    Script,
    Step,
    fault,
    first,
    say,
    shell,
    steps,
    tool,
)
from nanoclaw.testing.models.server import RecordedRequest, ScriptedServer
from nanoclaw.testing.models.signin import ACCOUNT_ID, SignIn, TokenRefusal, synthetic_auth_json

__all__ = [
    "ACCOUNT_ID",
    "USAGE",
    "Conversation",
    "FaultKind",
    "RecordedRequest",
    "Script",
    "ScriptedAnthropic",
    "ScriptedOpenAI",
    "ScriptedServer",
    "SignIn",
    "Step",
    "TokenRefusal",
    "fault",
    "first",
    "say",
    "shell",
    "steps",
    "synthetic_auth_json",
    "tool",
]
