"""Everything that can be done on the page can be done by command, too: an action without one fails here."""

import re
from pathlib import Path
from typing import Final

from nanoclaw.web.context import NAVIGATION
from nanoclaw.web.settings import PARTS
from tests.unit.test_docs import commands

ROOT: Final = Path(__file__).parents[2]
ACTIONS: Final = {
    "/groups/{folder}/messages": "nanoclaw send --chat",
    "/groups/{folder}/retry": "nanoclaw runs retry",
    "/groups/{folder}/stop": "nanoclaw runs stop --all",
    "/groups/{folder}/unregister": "nanoclaw groups remove",
    "/register": "nanoclaw groups add --jid --name --folder --trigger --provider --no-requires-trigger",
    "/runs/{run_id:int}/stop": "nanoclaw runs stop --run",
    "/signins/chatgpt": "nanoclaw auth login codex --device --group",
    "/signins/chatgpt/stop": "",  # Ctrl-C
    "/signins/key": "nanoclaw auth login claude --api-key --group",
    "/signins/out": "nanoclaw auth logout --group",
    "/tasks": "nanoclaw tasks add --type --value --group --timezone --context-mode --missed",
    "/tasks/{task_id}": "nanoclaw tasks update --prompt --type --value --timezone --context-mode --missed",
    "/tasks/{task_id}/{action}": "nanoclaw tasks pause",
    "/whatsapp/link": "nanoclaw auth login whatsapp --phone",
    "/whatsapp/link/stop": "",  # Ctrl-C
    "/whatsapp/unlink": "nanoclaw auth logout",
    "/whatsapp/refresh": "nanoclaw groups refresh",
}
SETTINGS: Final = {
    "thinks": "nanoclaw groups set --provider --approval-policy --model --auth-method",
    "wakes": "nanoclaw groups set --name --trigger --no-requires-trigger --senders --senders-allow",
    "network": "nanoclaw network set",
    "allow": "nanoclaw network allow",
    "limits": "nanoclaw groups set --timeout --budget-tokens --budget-usd",
}
SECTIONS: Final = {
    "/": "nanoclaw status",
    "/groups": "nanoclaw groups list",
    "/runs": "nanoclaw runs list",
    "/tasks": "nanoclaw tasks list",
    "/signins": "nanoclaw auth status",
    "/whatsapp": "nanoclaw logs --about",
    "/usage": "nanoclaw usage",
    "/audit": "nanoclaw audit",
}


def test_every_action_of_the_page_has_its_command():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/nanoclaw/web").glob("*.py"))
    actions = set(re.findall(r'Route\("([^"]+)", [^)]*methods=\["POST"\]', sources))
    assert actions - {"/groups/{folder}/settings/{part}"} == ACTIONS.keys()
    assert PARTS.keys() == SETTINGS.keys()
    assert {address for address, _ in NAVIGATION} == SECTIONS.keys()


def test_every_command_that_stands_for_an_action_is_there_with_its_options():
    known = dict(commands())
    for line in (*ACTIONS.values(), *SETTINGS.values(), *SECTIONS.values()):
        words = line.split()
        options = {word for word in words if word.startswith("--")}
        if name := " ".join(word for word in words if word not in options):
            assert options <= known[name], line
