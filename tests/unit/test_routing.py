"""Which messages wake an agent."""

import pytest

from nanoclaw.model import Folder, Jid, RegisteredGroup
from nanoclaw.routing import starts_with_trigger, wakes


def a_group(folder: str = "family", trigger: str = "@Andy", *, requires_trigger: bool = True) -> RegisteredGroup:
    return RegisteredGroup(
        jid=Jid(f"local:{folder}"),
        name=folder,
        folder=Folder(folder),
        trigger=trigger,
        added_at="",
        requires_trigger=requires_trigger,
    )


@pytest.mark.parametrize("text", ["@Andy hi", "@andy hi", "  @ANDY", "@Andy, hi", "@Andy\nhi", "@Andy's turn"])
def test_a_message_that_begins_with_the_trigger_wakes(text: str) -> None:
    assert wakes(a_group(), text)


@pytest.mark.parametrize("text", ["hi @Andy", "Andy hi", "@Andyman hi", "@An", "", "@Andy_2 hi"])
def test_a_message_that_does_not_begin_with_the_trigger_does_not_wake(text: str) -> None:
    assert not wakes(a_group(), text)


def test_main_needs_no_trigger() -> None:
    assert wakes(a_group("main"), "hi")


def test_a_group_that_requires_none_needs_no_trigger() -> None:
    assert wakes(a_group(requires_trigger=False), "hi")


def test_an_empty_message_wakes_nobody() -> None:
    assert not wakes(a_group("main"), " \n")


@pytest.mark.parametrize("trigger", ["@A.C", "(bot)", "@+1", "a|b", "@Zoë"])
def test_the_trigger_is_text_and_no_pattern(trigger: str) -> None:
    assert starts_with_trigger(trigger, f"{trigger} hi")
    assert not starts_with_trigger(trigger, "@AxC hi")
