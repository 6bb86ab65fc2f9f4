"""Bodies to feed decoders with: good streams broken by chance, streams after a grammar, and plain noise."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.fakes.metronome_dialects import LlamaServer, Ollama, OpenAI, Progress
from tests.fakes.metronome_plan import Plan

# What has meaning somewhere: framing, JSON, field values at their edges, tags.
TOKENS: Final = (
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"data: ",
        b"data:",
        b"event: error\n",
        b"event: x\n",
        b": ping\n\n",
        b"id: 1\n",
    ),
    *(
        b"[DONE]",
        b"data: [DONE]\n\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b",",
        b":",
        b"null",
        b"true",
        b"{}",
    ),
    *(
        b"NaN",
        b"1e999",
        b"-1",
        b"9" * 30,
        b"0.5",
        b"\\ud800",
        b"\\u0000",
        b"\\u001b[31m",
        b"\xff",
        b"\xc2\x85",
        b"\x00",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b"\xed\xa0\x80",
        b"<html>",
        b"<think>",
        b"</think>",
        b"<thi",
        b"[THINK]",
    ),
    *(
        b'"error":"x"',
        b'"type":"error"',
        b'"object":"error"',
        b'"done":true',
        b'"choices":',
        b'"delta":',
        b'"content":',
    ),
    *(
        b'"usage":{"completion_tokens":3}',
        b'"timings":{"predicted_n":4}',
        b'"tool_calls":[',
        b'"index":1',
        b'"message":',
    ),
)
TEXTS: Final = (
    "a",
    "",
    " ",
    "Hé",
    "😀",
    "\n",
    "<think>",
    "</think>",
    "<th",
    "ink>",
    "[/THINK]",
    "`",
    "\x00",
    "\x9b",
    "\ud83d",
)
KEYS: Final = (
    *(
        "choices",
        "delta",
        "message",
        "content",
        "reasoning_content",
        "reasoning",
        "thinking",
        "tool_calls",
        "function",
    ),
    *(
        "index",
        "id",
        "name",
        "arguments",
        "finish_reason",
        "usage",
        "timings",
        "completion_tokens",
        "prompt_tokens",
    ),
    *(
        "predicted_n",
        "predicted_ms",
        "prompt_progress",
        "total",
        "processed",
        "error",
        "object",
        "type",
        "done",
    ),
    *(
        "eval_count",
        "content_block",
        "text",
        "partial_json",
        "input",
        "stop_reason",
        "output_tokens",
        "refusal",
    ),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One server's spelling.

    Attributes:
        golden: Good streams.
        document: A JSON document of about the right shape.
        framed: A document as one event.
        end: The end marker.
    """

    golden: tuple[bytes, ...]
    document: Callable[[random.Random], Any]
    framed: Callable[[bytes], bytes]
    end: bytes


def body(dialect: Dialect, rng: random.Random) -> bytes:
    """One body: half of them broken good ones, most others after the grammar."""
    dice = rng.random()
    if dice < 0.5:
        return _broken(rng.choice(dialect.golden), rng)
    if dice < 0.9:
        return _grown(dialect, rng)
    if dice < 0.95:
        return b"".join(rng.choices(TOKENS, k=rng.randint(0, 30)))
    return rng.randbytes(rng.randint(0, 200))


def cut(data: bytes, rng: random.Random) -> list[bytes]:
    """The same bytes in a few reads, now and then in single bytes."""
    if rng.random() < 0.02:
        return [bytes([byte]) for byte in data]
    places = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(0, 4)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def _broken(golden: bytes, rng: random.Random) -> bytes:
    data = bytearray(golden)
    for _ in range(rng.randint(1, 4)):
        at, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        match rng.randint(0, 5):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                data[at:at] = rng.choice(TOKENS)
            case 2:
                del data[at : min(end, at + 40)]
            case 3:
                data[at:at] = data[at : min(end, at + 200)]
            case 4:
                del data[at:]
            case _:
                data[at : at + 8] = rng.choice(TOKENS)
    return bytes(data)


def _grown(dialect: Dialect, rng: random.Random) -> bytes:
    parts: list[bytes] = []
    for _ in range(rng.randint(1, 5)):
        if rng.random() < 0.1:
            parts.append(rng.choice(TOKENS))
        text = json.dumps(dialect.document(rng), ensure_ascii=rng.random() < 0.5)
        parts.append(dialect.framed(text.encode("utf-8", "surrogatepass")))
    return b"".join(parts) + (dialect.end if rng.random() < 0.8 else b"")


def _value(rng: random.Random, depth: int) -> Any:
    match rng.randint(0, 9 if depth else 6):
        case 0:
            return None
        case 1:
            return rng.choice((True, False))
        case 2:
            return rng.choice((0, 1, -1, 3, 2**53, 2**70))
        case 3:
            return rng.choice((0.5, -0.0, 3.0, 1e300, float("nan"), float("inf")))
        case 7:
            return [_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
        case 8 | 9:
            return {rng.choice(KEYS): _value(rng, depth - 1) for _ in range(rng.randint(0, 3))}
        case _:
            return "".join(rng.choices(TEXTS, k=rng.randint(0, 3)))


def _odd(rng: random.Random, likely: Any) -> Any:
    """Mostly what belongs there."""
    return likely if rng.random() < 0.85 else _value(rng, 2)


def _text(rng: random.Random) -> Any:
    return _odd(rng, "".join(rng.choices(TEXTS, k=rng.randint(0, 3))))


def _call(rng: random.Random) -> Any:
    function = {"name": _text(rng), "arguments": _odd(rng, rng.choice(('{"a', '": 1}', "{}")))}
    return {"index": _odd(rng, rng.randint(0, 2)), "id": _text(rng), "function": _odd(rng, function)}


def _fields(rng: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: _text(rng)
        for name in rng.choices(
            ("content", "reasoning_content", "reasoning", "thinking"), k=rng.randint(0, 2)
        )
    }
    if rng.random() < 0.15:
        found["tool_calls"] = _odd(rng, [_call(rng)])
    if rng.random() < 0.1:
        found[rng.choice(KEYS)] = _value(rng, 2)
    return found


def _more(rng: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    count = _odd(rng, rng.randint(0, 9))
    if rng.random() < 0.3:
        found["usage"] = _odd(rng, {"completion_tokens": count, "prompt_tokens": 3, "output_tokens": count})
    if rng.random() < 0.3:
        found["timings"] = _odd(rng, {"predicted_n": count, "predicted_ms": _odd(rng, 3.5)})
    if rng.random() < 0.1:
        found[rng.choice(KEYS)] = _value(rng, 2)
    return found


def _openai(rng: random.Random) -> Any:
    choice = {
        "delta": _odd(rng, _fields(rng)),
        "finish_reason": rng.choice((None, "stop")),
        "index": _odd(rng, 0),
    }
    return _odd(rng, {"choices": _odd(rng, [choice] * rng.randint(0, 2)), **_more(rng)})


def _ollama(rng: random.Random) -> Any:
    found = {"message": _odd(rng, _fields(rng)), "done": rng.random() < 0.1, **_more(rng)}
    return _odd(rng, found)


def _anthropic(rng: random.Random) -> Any:
    kind = rng.choice(("text", "thinking", "tool_use", "input_json", "signature"))
    block = {
        "type": kind,
        "text": _text(rng),
        "thinking": _text(rng),
        "id": "t",
        "name": "f",
        "input": _odd(rng, {}),
    }
    delta = {
        **block,
        "type": f"{kind}_delta",
        "partial_json": _text(rng),
        "stop_reason": _odd(rng, "end_turn"),
    }
    name = rng.choice(
        (
            "content_block_delta",
            "content_block_start",
            "content_block_stop",
            "message_start",
            "message_delta",
            "ping",
        )
    )
    message = {"usage": {"input_tokens": 5}}
    found = {"type": _odd(rng, name), "index": _odd(rng, rng.randint(0, 2)), "delta": _odd(rng, delta)}
    return _odd(
        rng, {**found, "content_block": _odd(rng, block), "message": _odd(rng, message), **_more(rng)}
    )


def _event(document: bytes) -> bytes:
    return b"data: " + document + b"\n\n"


def _line(document: bytes) -> bytes:
    return document + b"\n"


def _stream(dialect: OpenAI | Ollama, plan: Plan) -> bytes:
    chunks = (dialect.chunk(plan, Progress(number, 1)) for number in range(1, plan.tokens + 1))
    return dialect.role(plan) + dialect.ping() + dialect.prefill(3, 9) + b"".join(chunks) + dialect.end(plan)


def _plans(tagged: str) -> tuple[Plan, ...]:
    counted = Plan(tokens=3, usage="per_chunk", reasoning=1)
    return counted, Plan(tokens=3, tool_call=True), Plan(tokens=3, word=tagged)


_ANTHROPIC_GOLDEN: Final = b"".join(
    b"event: %b\ndata: %b\n\n" % (str(document["type"]).encode(), json.dumps(document).encode())
    for document in (
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "H\u00e9"}},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "t", "name": "f"},
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": '{"a'},
        },
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    )
)

DIALECTS: Final = {
    "openai": Dialect(
        (
            *(_stream(OpenAI("m"), plan) for plan in _plans("<think>a</think>")),
            *(
                _stream(LlamaServer("m", timings_per_token=True, progress=True), plan)
                for plan in _plans("a</think>")
            ),
            b'{"choices":[{"message":{"content":"<think>a</think>b"}}],"usage":{"completion_tokens":3}}',
        ),
        _openai,
        _event,
        b"data: [DONE]\n\n",
    ),
    "ollama": Dialect(
        tuple(_stream(Ollama("m"), plan) for plan in _plans("<think>a</think>")),
        _ollama,
        _line,
        b'{"message":{"content":""},"done":true,"done_reason":"stop","eval_count":3}\n',
    ),
    "anthropic": Dialect(
        (
            _ANTHROPIC_GOLDEN,
            b'{"type":"message","content":[{"type":"text","text":"a"}],"usage":{"output_tokens":3}}',
        ),
        _anthropic,
        _event,
        b'data: {"type":"message_stop"}\n\n',
    ),
}
