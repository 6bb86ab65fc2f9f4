"""What one request may cost before anybody knows what it asks."""

import pytest
from starlette.requests import Request
from starlette.types import Message

from llama_runner.core.errors import InvalidRequestError
from llama_runner.proxy.bodies import MAX_PARTS, MAX_VALUES, read_object
from llama_runner.proxy.handlers import _asked_model

MANY = {
    "lists": b'{"model": "m", "tools": [' + b"[]," * MAX_PARTS + b"[]]}",
    "numbers": b'{"model": "m", "tools": [[' + b"0," * (MAX_VALUES + 1) + b"0]]}",
    "names": b'{"model": "m", "x": {' + b'"a":0,' * (MAX_VALUES + 1) + b'"a":0}}',
}


def _request(body: bytes) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)


@pytest.mark.parametrize("body", MANY.values(), ids=MANY.keys())
async def test_what_has_too_many_parts_is_never_read(body: bytes) -> None:
    """H15: not for its model's name either, once it is refused and put on record."""
    with pytest.raises(InvalidRequestError, match="too many parts"):
        await read_object(_request(body))
    assert await _asked_model(_request(body)) == ""


async def test_the_model_of_a_refused_request_is_told() -> None:
    assert await _asked_model(_request(b'{"model": "m"}')) == "m"
    assert await _asked_model(_request(b'{"name": "n", "x": 0}')) == "n"
    assert await _asked_model(_request(b"[]")) == ""
