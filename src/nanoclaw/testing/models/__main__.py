"""Try the program without an account: `python -m nanoclaw.testing.models`."""

import argparse
import signal
import sys

from nanoclaw.testing.models import Conversation, ScriptedAnthropic, ScriptedOpenAI, say


def main() -> None:
    """Serve both models until the process is interrupted or told to end."""
    parser = argparse.ArgumentParser(prog="python -m nanoclaw.testing.models", description=__doc__)
    parser.add_argument("--openai-port", type=int, default=0, help="default: a free one")
    parser.add_argument("--anthropic-port", type=int, default=0, help="default: a free one")
    parser.add_argument("--say", metavar="TEXT", help="the answer to everything; default: what was asked")
    options = parser.parse_args()
    script = say(options.say or _echo)
    stopping = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    with (
        ScriptedOpenAI(script, port=options.openai_port) as openai,
        ScriptedAnthropic(script, port=options.anthropic_port) as anthropic,
    ):
        sys.stdout.write(f"OPENAI_BASE_URL={openai.base_url}\nOPENAI_API_KEY=scripted\n")
        sys.stdout.write(f"ANTHROPIC_BASE_URL={anthropic.base_url}\nANTHROPIC_API_KEY=scripted\n")
        sys.stdout.flush()
        signal.sigwait(stopping)


def _echo(conversation: Conversation) -> str:
    return f"You said: {conversation.messages[-1] if conversation.messages else conversation.prompt}"


if __name__ == "__main__":
    main()
