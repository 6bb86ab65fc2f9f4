import json
import math
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core import jsonio
from llama_runner.core.jsonio import (
    INT_MAX,
    INT_MIN,
    JsonRejected,
    JsonValue,
    dump_compact,
    dump_json,
    parse_json,
)

MIB = 1 << 20


def parse(data: bytes, **options: Any) -> Any:
    return parse_json(data, max_bytes=MIB, **options)


def test_an_ordinary_document_is_returned_as_it_is() -> None:
    document: JsonValue = {"a": [1, 2.5, True, False, None, "ä😀\n\t\r"], "b": {}}
    assert parse(json.dumps(document).encode()) == document
    assert parse(dump_json(document)) == document


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1}x', "Extra data"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        ("{'ä': 1}".encode("latin-1"), "not UTF-8"),
        (b"\x00" * 20, "full of zeros"),
        (b'{"a": "\x00"}', "not JSON"),
        (b"x" * (MIB + 1), "longer than"),
        (b"9" * 5000, "too long"),
        (b"[" * 100_000, "too deeply"),
        (b"[" * 200 + b"]" * 200, "too deeply"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "too deeply"),
        (b"NaN", "not finite"),
        (b'{"a": [-Infinity]}', "not finite"),
        (b'{"a": 1e999}', "not finite"),
        (b"1" + b"0" * 400 + b".0", "not finite"),
    ],
)
def test_r5_what_is_not_acceptable_json_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(JsonRejected, match=why):
        parse(data)


def test_the_reason_never_quotes_the_data() -> None:
    with pytest.raises(JsonRejected) as caught:
        parse(b'{"api_key": "canary", }')
    assert "canary" not in str(caught.value)


def test_nesting_up_to_the_limit_is_accepted() -> None:
    assert parse(b"[" * 64 + b"]" * 64)
    assert parse(b"[[], [], []]", max_depth=2) == [[], [], []]
    with pytest.raises(JsonRejected):
        parse(b"[[[]]]", max_depth=2)
    assert parse(b'["[[[[[[[["]', max_depth=2) == ["[[[[[[[["]


def test_r5_integers_are_clamped_to_64_bits() -> None:
    assert parse(b"[9223372036854775808, -99999999999999999999, 5]") == [INT_MAX, INT_MIN, 5]


def test_r5_surrogates_and_controls_are_replaced_in_keys_and_values() -> None:
    data = (
        rb'{"k\u0007": ["\ud800", "\udfff\u0000", "\u001b[31m", "\b\f", "\u0085", "\ud83d\ude00", "a\tb\n"]}'
    )
    assert parse(data) == {
        "k\ufffd": ["\ufffd", "\ufffd\ufffd", "\ufffd[31m", "\ufffd\f", "\x85", "😀", "a\tb\n"]
    }
    assert parse('"\x85\x84\x7f"'.encode()) == "\x85\ufffd\ufffd"


def test_numbers_that_are_not_finite_can_be_kept_for_checking_them_one_by_one() -> None:
    value = parse(b"[NaN, 1e999, -Infinity, true, null, 1.5]", allow_nonfinite=True)
    assert math.isnan(value[0])
    assert value[1:] == [math.inf, -math.inf, True, None, 1.5]


def test_what_json_cannot_hold_is_written_as_something_it_can() -> None:
    data = dump_json({"a": [math.nan, math.inf, 1.5], "b": "\ud800"})
    assert json.loads(data) == {"a": [None, None, 1.5], "b": "\ud800"}
    assert dump_json({"ä": 1}, indent=2) == '{\n  "ä": 1\n}\n'.encode()
    odds: tuple[JsonValue, ...] = ({"a": [math.nan, 1.5]}, {"b": "\ud800", "a": math.inf})
    for odd in odds:
        assert json.loads(dump_compact(odd)) == json.loads(dump_json(odd))
    assert dump_compact({"ä": [1, "x"]}) == '{"ä":[1,"x"]}'.encode()


_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_documents)
def test_whatever_is_accepted_can_be_encoded_and_stored(document: Any) -> None:
    data = json.dumps(document).encode()
    try:
        value = parse(data)
    except JsonRejected:
        assert b"NaN" in data or b"Infinity" in data
        return
    assert parse(dump_json(value)) == parse(dump_compact(value)) == value
    with sqlite3.connect(":memory:") as database:
        for leaf in _leaves(value):
            database.execute("select ?", (leaf,))
    database.close()


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    if isinstance(value, dict):
        return [*value, *(leaf for item in value.values() for leaf in _leaves(item))]
    return [value]


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        parse(data)
    except JsonRejected as error:
        assert str(error)


# Whatever may make two parsers differ: numbers at every edge, odd spellings, bytes that are no text.
_ODD = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b" ",
        b"\n",
        b"\x0b",
        b"'a'",
        b"//",
        b"\\",
        b"\xff",
        b"\xef\xbb\xbf",
    ),
    *(
        b'"a"',
        b'"\\u0000"',
        b'"\\ud83d\\ude00"',
        b'"\\ud800"',
        b'"\x1f"',
        b'"\xc2\x85"',
        b'"\xed\xa0\x80"',
        b"\\b",
    ),
    *(b"true", b"null", b"True", b"NaN", b"-NaN", b"nan", b"Infinity", b"-Infinity", b"inf"),
    *(
        b"1",
        b"-0",
        b"-0.0",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"1e",
        b"1e5",
        b"1E+400",
        b"1e-400",
        b"5e-324",
        b"1e23",
    ),
    *(
        b"9223372036854775807",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"0.1",
        b"2.2250738585072011e-308",
    ),
]
_odd_documents = st.lists(st.sampled_from(_ODD), max_size=12).map(b"".join)
_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


def _outcome(data: bytes, allow_nonfinite: bool, *, careful: bool) -> str:
    try:
        if careful:
            return repr(jsonio._scrub(jsonio._loads(data), jsonio.MAX_DEPTH, allow_nonfinite))
        return repr(parse(data, allow_nonfinite=allow_nonfinite))
    except JsonRejected:
        return "rejected"


@given(_odd_documents | _documents.map(lambda value: json.dumps(value).encode()), st.booleans())
def test_r5_the_quick_way_gives_what_the_careful_one_gives(data: bytes, allow_nonfinite: bool) -> None:
    """The quick parser, without the walk, against Python's own and the walk: value for value."""
    for document in (data, b'{"k":' + data + b"}", b'{"k":1,"k":[' + data + b"]}"):
        assert _outcome(document, allow_nonfinite, careful=False) == _outcome(
            document, allow_nonfinite, careful=True
        )
