"""What a file in a mailbox may say."""

import json
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanoclaw.errors import MailboxError
from nanoclaw.ipc.commands import MAX_TEXT_BYTES, VERBS, Command, SendMessage
from nanoclaw.ipc.protocol import error_answer, ok_answer, parse


def message(**fields: object) -> bytes:
    return json.dumps({"type": "message", **fields}).encode()


def refusal(data: bytes) -> str:
    with pytest.raises(MailboxError) as caught:
        parse(data)
    return str(caught.value)


def sent(data: bytes) -> SendMessage:
    command = parse(data)
    assert isinstance(command, SendMessage)
    return command


def test_a_message_needs_no_more_than_its_text():
    command = sent(b'{"type": "message", "text": "hello"}')
    assert (command.text, command.chat) == ("hello", None)


def test_a_file_as_nanoclaws_own_agents_write_it_is_understood():
    written = message(
        chatJid="120363000@g.us",
        text="Done.",
        groupFolder="family",
        timestamp="2026-01-31T12:00:00.000Z",
        sender="Researcher",
    )
    command = sent(written)
    assert (command.text, command.chat, command.claimed_folder) == ("Done.", "120363000@g.us", "family")


def test_unknown_fields_are_ignored_whatever_they_hold():
    assert sent(message(text="hi", mood=[1, {"a": None}], chat="other")).chat is None


def test_a_null_address_means_the_own_chat():
    assert sent(message(text="hi", chatJid=None)).chat is None


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verbs_example_is_a_file_that_is_understood(verb: str):
    command = parse(VERBS[verb].model.example.encode())
    assert type(command) is VERBS[verb].model
    assert command.verb == verb


def test_line_breaks_and_tabs_stay_and_what_a_terminal_would_obey_goes():
    assert sent(message(text="one\r\ntwo\tthree\x00\x1b[31m\x07\x7f\u009bend")).text == "one\ntwo\tthree[31mend"


def test_a_message_of_the_longest_text_is_taken_and_one_byte_more_is_not():
    assert len(sent(message(text="ä" * (MAX_TEXT_BYTES // 2))).text) == MAX_TEXT_BYTES // 2
    assert "longer than 64 KiB" in refusal(message(text="ä" * (MAX_TEXT_BYTES // 2) + "a"))


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x1b"])
def test_a_message_that_says_nothing_is_refused(text: str):
    assert refusal(message(text=text)).startswith("`text` is empty")


@pytest.mark.parametrize("jid", ["", "  ", "a\nb", "x" * 257, "\x00"])
def test_an_address_that_is_none_is_refused(jid: str):
    assert refusal(message(text="hi", chatJid=jid)).startswith("`chatJid` is no address of a chat")


def test_a_missing_field_is_named_with_what_it_is_and_an_example():
    problem = refusal(b'{"type": "message"}')
    assert problem.startswith("`text` is missing; it is a string: what to say")
    assert problem.endswith(SendMessage.example)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(5, "a number"), (1.5, "a number"), (True, "true or false"), ([], "a list"), ({}, "an object"), (None, "null")],
)
def test_a_field_of_the_wrong_type_is_named_with_both_types(value: object, kind: str):
    assert refusal(message(text=value)).startswith(f"`text` is {kind}; it must be a string")


def test_every_wrong_field_is_named_at_once():
    problem = refusal(message(text=7, chatJid=7))
    assert "`text` is a number" in problem
    assert "`chatJid` is a number" in problem


def test_an_unknown_type_is_answered_with_the_nearest_and_all_that_are_accepted():
    problem = refusal(b'{"type": "mesage", "text": "hi"}')
    assert problem == '`type` "mesage" is unknown; did you mean message? accepted are: ' + ", ".join(sorted(VERBS))


def test_an_unknown_type_is_repeated_harmlessly():
    problem = refusal(json.dumps({"type": "\n\x1b[31m" + "x" * 10_000}).encode())
    assert problem.isprintable()
    assert len(problem) < 300


@pytest.mark.parametrize("name", [5, None, ["message"], {"message": 1}])
def test_a_type_that_is_no_string_is_refused(name: object):
    assert refusal(json.dumps({"type": name}).encode()).startswith("`type` must be a string")


def test_a_file_without_a_type_is_refused():
    assert refusal(b"{}").startswith("`type` is missing; accepted are: cancel_task, message")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is not JSON"),
        (b"hello", "the file is not JSON"),
        (b'{"type": "message", "text": "hi"', "the file is not JSON"),
        (b'{"type": "message", "text": "hi"} {}', "the file is not JSON"),
        (b'\xef\xbb\xbf{"type": "message", "text": "hi"}', "the file is not JSON"),
        (b'{"type": "message", "text": "one\ntwo"}', "write a line break inside a string as \\n"),
        (b"[]", "the file holds a list"),
        (b'"message"', "the file holds a string"),
        (b"null", "the file holds null"),
        (b"\xff\xfe{\x00}\x00", "the file is not UTF-8 (byte 0)"),
        (b'{"type": "message", "text": "\xc3\x28"}', "the file is not UTF-8 (byte 29)"),
        (b'{"type": "message", "text": "\\ud800"}', "half of a surrogate pair"),
        (b'{"type": "message", "text": "hi", "\\udfff": 1}', "half of a surrogate pair"),
        (b'{"type": "message", "text": "hi", "n": NaN}', "NaN is not JSON"),
        (b'{"type": "message", "text": "hi", "n": -Infinity}', "-Infinity is not JSON"),
        (b'{"type": "message", "text": "hi", "n": 1e999}', "a number is too large"),
        (b'{"type": "message", "text": "hi", "n": ' + b"9" * 900_000 + b"}", "more than 20 digits"),
        (b'{"type": "message", "text": "a", "text": "b"}', '"text" is given twice'),
        (b'{"type": "message", "text": "a", "x": {"y": 1, "y": 1}}', '"y" is given twice'),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b"[" * 1_000_000, "nested too deeply"),
    ],
)
def test_what_is_not_one_strict_json_object_is_refused_with_the_reason(data: bytes, problem: str):
    assert problem in refusal(data)


def test_a_whole_surrogate_pair_is_a_character():
    assert sent(b'{"type": "message", "text": "\\ud83d\\ude00"}').text == "\U0001f600"


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_command_or_a_refusal(data: bytes):
    with suppress(MailboxError):
        assert isinstance(parse(data), Command)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
names = st.sampled_from(["type", "text", "chatJid", "groupFolder", "createdBy", "isMain", "prompt"])


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(names | st.text(max_size=5), json_values | st.sampled_from(["message", "hi"]), max_size=6))
@example({"type": "message", "text": "\ud800"})
def test_any_document_is_a_command_with_a_clean_text_or_a_refusal_in_one_line(document: dict[str, object]):
    problem = ""
    try:
        command = parse(json.dumps(document).encode())
    except MailboxError as error:
        problem = str(error)
    else:
        assert isinstance(command, SendMessage)
        assert command.text.strip()
        assert "\x00" not in command.text
        assert len(command.text.encode()) <= MAX_TEXT_BYTES
    assert "\n" not in problem
    assert problem.encode().decode() == problem


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_right_file_with_any_byte_changed_is_a_command_or_a_refusal(data: st.DataObject):
    content = bytearray(message(text="hello", chatJid="local:main", n=1.5))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    with suppress(MailboxError):
        assert isinstance(parse(bytes(content)), Command)


def test_answers_say_whether_it_took_effect():
    assert ok_answer(id=7) == {"ok": True, "id": 7}
    assert error_answer("no") == {"ok": False, "error": "no"}
