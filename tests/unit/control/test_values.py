"""The JSON shapes of the control API."""

import json

import pytest

from llama_runner.control.values import (
    Access,
    Instance,
    InstanceList,
    LoadRequest,
    parse_answer,
    parse_body,
    to_json,
)
from llama_runner.core.errors import ServiceError, UsageError
from llama_runner.core.load_options import LoadOptions


def test_what_the_service_writes_is_what_the_client_reads() -> None:
    sent = InstanceList(7, (Instance("a", "m", "starting", pid=5, progress=0.5), Instance("b", "n", "ready")))
    data = json.dumps(to_json(sent)).encode()
    assert parse_answer(InstanceList, data, endpoint="/instances") == sent


def test_keys_of_a_newer_service_are_ignored() -> None:
    data = b'{"revision": 1, "instances": [{"id": "a", "model": "m", "state": "ready", "mood": 3}], "x": 1}'
    assert parse_answer(InstanceList, data, endpoint="/instances").instances[0].id == "a"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b'{"revision": "x", "instances": []}',
        b'{"instances": []}',
        b"[" * 9999,
    ],
)
def test_an_answer_that_is_something_else_is_a_service_error(data: bytes) -> None:
    with pytest.raises(ServiceError, match="/instances"):
        parse_answer(InstanceList, data, endpoint="/instances")


def test_a_load_takes_only_what_it_knows_of_the_right_type() -> None:
    wish = parse_body(LoadRequest, b'{"model": "m", "options": {"threads": 4}}')
    assert wish == LoadRequest("m", LoadOptions(threads=4))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model": "m", "path": "/etc/passwd"}', "path"),
        (b'{"model": "m", "options": {"host": "0.0.0.0"}}', "options.host"),
        (b'{"model": "m", "options": {"threads": "4"}}', "options.threads"),
        (b'{"model": "m", "options": {"threads": true}}', "options.threads"),
        (b'{"model": "m", "options": {"threads": 1.5}}', "options.threads"),
        (b'{"model": 3}', "model"),
        (b"{}", "model"),
        (b'{"model": "\\ud800"}', "Invalid JSON"),
        (b'{"model": NaN}', ""),
        (b"[]", "object"),
        (b"[" * 9999, "recursion"),
        (b"\xff\xfe", "Invalid JSON"),
    ],
)
def test_a_bad_body_is_refused_and_the_field_named(body: bytes, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_body(LoadRequest, body)
    assert field in caught.value.message
    assert len(caught.value.message) < 400


def test_the_key_of_an_instance_is_in_no_repr() -> None:
    assert "secret" not in repr(Access("http://127.0.0.1:1", "secret"))
