"""The codecs of Phoenix Channels, V2 and V1: what they read, what they refuse and how they say so, what they write."""

import json
from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.gateway import phoenix, phoenix_v1
from understudy.gateway.phoenix import Frame, Malformed, Ref

refs = st.none() | st.text(max_size=phoenix.REF_LIMIT) | st.integers(-(2**53) + 1, 2**53 - 1)
words = st.text(min_size=1, max_size=100)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
payloads = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(refs, refs, words, words, payloads)
def test_what_is_written_is_read_back(join_ref: Ref, ref: Ref, topic: str, event: str, payload: object) -> None:
    text = phoenix.encode(join_ref, ref, topic, event, phoenix.to_json(payload)).decode()
    assert phoenix.decode(text) == Frame(join_ref, ref, topic, event, payload)


@given(refs, words, words.filter(lambda event: event != phoenix.JOIN), payloads)
def test_what_is_written_in_v1_is_read_back_without_join_ref(ref: Ref, topic: str, event: str, payload: object) -> None:
    text = phoenix_v1.encode("7", ref, topic, event, phoenix.to_json(payload)).decode()
    assert phoenix_v1.decode(text) == Frame(None, ref, topic, event, payload)
    assert "\n" not in text


@pytest.mark.parametrize("codec", [phoenix, phoenix_v1])
@given(st.text() | payloads.map(json.dumps))
def test_any_text_is_a_frame_or_malformed(codec: ModuleType, text: str) -> None:
    decode: Callable[[str], Frame] = codec.decode
    try:
        assert decode(text).topic
    except Malformed as error:
        assert_that_it_helps(str(error))


@given(st.fixed_dictionaries(dict.fromkeys(phoenix_v1.FIELDS, payloads), optional={"ref": payloads}))
def test_any_object_is_a_message_of_v1_or_malformed(said: dict[str, object]) -> None:
    try:
        assert phoenix_v1.decode(json.dumps(said)).topic
    except Malformed as error:
        assert_that_it_helps(str(error))


def assert_that_it_helps(said: str) -> None:
    assert said.startswith("expected ")
    assert ", got " in said


A_REF = "to be null, a number or a string of at most 64 characters"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected JSON, got ''"),
        ("{", "expected JSON, got '{'"),
        ('{"a": 1}', "expected an array of 5 elements [join_ref, ref, topic, event, payload], got an object"),
        ("[]", "got an array of 0"),
        ('[null, "1", "phoenix", "heartbeat"]', "got an array of 4"),
        ('[1.5, "1", "a", "b", {}]', f"expected join_ref {A_REF}, got a number"),
        ('[null, {}, "a", "b", {}]', f"expected ref {A_REF}, got an object"),
        ('[null, true, "a", "b", {}]', f"expected ref {A_REF}, got a boolean"),
        ('[null, 9007199254740992, "a", "b", {}]', f"expected ref {A_REF}, got a number"),
        ('[null, "1", null, "b", {}]', "expected topic to be a string of 1 to 256 characters, got null"),
        ('[null, "1", "", "b", {}]', "got a string of 0 characters"),
        (json.dumps([None, "1", "a" * 257, "b", {}]), "got a string of 257 characters"),
        ('[null, "1", "a", true, {}]', "expected event to be a string of 1 to 128 characters, got a boolean"),
        ('[null, "1", "a", "b", NaN]', "NaN is not JSON"),
        ('[null, "1", "a", "b", Infinity]', "Infinity is not JSON"),
        ('[null, "1", "a", "b", [-1e999]]', "-1e999 is too large a number"),
        ('[null, "1", "a", "b", [18446744073709551616]]', "18446744073709551616 has more than 64 bits"),
        ('[null, "1", "a", "b", ' + "[" * 33 + "]" * 33 + "]", "expected at most 32 levels of nesting, got more"),
        ("[" * 60_000, "expected at most 32 levels of nesting, got more"),
        ('[null, "1", "a", "b", "\\ud800"]', "expected Unicode text, got half of a surrogate pair"),
        ('[null, "1", "\\ud800", "b", {}]', "expected Unicode text, got half of a surrogate pair"),
        ('[null, "1", "a", "b", ' + "9" * 5000 + "]", "expected JSON"),
    ],
)
def test_malformed_text_is_refused_with_what_was_expected_and_what_came(text: str, expected: str) -> None:
    with pytest.raises(Malformed) as caught:
        phoenix.decode(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", 'expected an object {"topic", "event", "payload", "ref"}, got an array'),
        ('{"topic": "a", "ref": "1"}', "got one without event, payload"),
        (
            '{"topic": 1, "event": "b", "payload": {}}',
            "expected topic to be a string of 1 to 256 characters, got a number",
        ),
        ('{"topic": "a", "event": "b", "payload": {}, "ref": []}', f"expected ref {A_REF}, got an array"),
        ('{"topic": "a", "event": [], "payload": {}, "ref": "1"}', "expected event to be a string"),
    ],
)
def test_what_is_no_message_of_v1_is_refused_with_what_was_expected_and_what_came(text: str, expected: str) -> None:
    with pytest.raises(Malformed) as caught:
        phoenix_v1.decode(text)
    assert expected in str(caught.value)


def test_a_refusal_names_the_message_it_answers_where_that_can_be_read() -> None:
    with pytest.raises(Malformed) as caught:
        phoenix.decode('[null, "7", "room:a", 1, {}]')
    assert (caught.value.ref, caught.value.topic) == ("7", "room:a")
    with pytest.raises(Malformed) as caught:
        phoenix.decode('[null, [], 8, "b", {}]')
    assert (caught.value.ref, caught.value.topic) == (None, "phoenix")


@pytest.mark.parametrize(
    "text",
    ['[null, "\\ud800", "room:a", 1, {}]', '[null, "7", "\\ud800", 1, {}]', '[null, "7", "\\ud800", "b", "\\ud800"]'],
)
def test_a_refusal_names_nothing_that_could_not_be_written(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        phoenix.decode(text)
    assert phoenix.to_json([caught.value.ref, caught.value.topic])


def test_nesting_up_to_the_limit_is_fine() -> None:
    text = '[null, "1", "a", "b", ' + "[" * 32 + "]" * 32 + "]"
    assert phoenix.decode(text).event == "b"


def test_a_whole_surrogate_pair_is_text() -> None:
    assert phoenix.decode('[null, "1", "a", "b", "\\ud83c\\udfad"]').payload == "🎭"


def test_a_join_of_v1_is_known_by_its_ref_unless_it_names_another() -> None:
    join = {"topic": "a", "event": "phx_join", "payload": {}, "ref": "1"}
    assert phoenix_v1.decode(json.dumps(join)) == Frame("1", "1", "a", "phx_join", {})
    assert phoenix_v1.decode(json.dumps(join | {"join_ref": "j"})) == Frame("j", "1", "a", "phx_join", {})
    assert phoenix_v1.decode('{"topic": "a", "event": "b", "payload": {}}') == Frame(None, None, "a", "b", {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {"a": {1, 2}}, b"bytes"])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        phoenix.to_json(value)
