"""Feeds a decoder with a great many odd bodies and says the seed of the first that breaks a promise.

    python -m tests.fuzz.decoders [--count 1000000] [--seed 1] [openai|ollama|anthropic ...]

The promises: nothing is raised; a body ends in its end marker or in a failure; texts can be stored; stamps
and counts are plausible; every split gives the same.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from llama_runner.backends.anthropic_decoder import AnthropicDecoder
from llama_runner.backends.decoding import DecoderBase
from llama_runner.backends.events import (
    Finished,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.ollama_decoder import OllamaDecoder
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.values import MAX_COUNT
from llama_runner.core.jsonio import scrub_text
from llama_runner.net.lines import DEFAULT_CAPS, StreamCaps
from tests.fuzz.inputs import DIALECTS, body, cut

URL: Final = "http://127.0.0.1:1"
DECODERS: Final[Mapping[str, Callable[[str, StreamCaps], DecoderBase]]] = {
    "openai": OpenAIDecoder,
    "ollama": OllamaDecoder,
    "anthropic": AnthropicDecoder,
}
# Small enough that bodies of a few hundred bytes reach them.
SMALL_CAPS: Final = StreamCaps(line=150, event=200, stream=500)


class BrokenPromiseError(AssertionError):
    """A decoder did what none may do; the text holds what repeats it."""


def check(name: str, seed: int) -> str:
    """One body, told by the seed. Returns how it ended; raises BrokenPromiseError."""
    rng = random.Random(seed)
    data = body(DIALECTS[name], rng)
    reads = cut(data, rng)
    small = rng.random() < 0.1
    try:
        decoder, events = _decode(name, reads, SMALL_CAPS if small else DEFAULT_CAPS)
        _keep_promises(decoder, events)
        if not small and rng.random() < 0.3:
            whole, expected = _decode(name, [data], DEFAULT_CAPS)
            assert events == expected, "another split gives other events"
            assert str(decoder.failure) == str(whole.failure), "another split gives another failure"
            assert decoder.bad_events == whole.bad_events, "another split counts other bad events"
    except Exception as error:
        # Whatever it is, what repeats it must be known.
        raise BrokenPromiseError(f"{name} seed {seed}: {error!r} of {reads!r}") from error
    return "finished" if decoder.failure is None else type(decoder.failure).__name__


def _decode(name: str, reads: list[bytes], caps: StreamCaps) -> tuple[DecoderBase, list[StreamEvent]]:
    decoder = DECODERS[name](URL, caps)
    events = [event for data in reads for event in decoder.feed(7, data)]
    return decoder, [*events, *decoder.close(7)]


def _keep_promises(decoder: DecoderBase, events: list[StreamEvent]) -> None:
    finished = [event for event in events if isinstance(event, Finished)]
    assert len(finished) <= 1, "more than one end"
    assert bool(finished) == bool(events and isinstance(events[-1], Finished)), "the end is not last"
    assert finished or decoder.failure is not None, "neither end nor failure"
    assert decoder.feed(8, b"data: x\n\n") == [] or not decoder.failure, "events after a failure"
    fold = AnswerFold()
    for event in events:
        fold.add(event)
        _check_event(event)
    snapshot = fold.snapshot()
    (snapshot.text + snapshot.reasoning + str(decoder.failure)).encode("utf-8")


def _check_event(event: StreamEvent) -> None:
    assert event.t_ns == 7, "another stamp"
    match event:
        case TextDelta(_, text, counted) | ReasoningDelta(_, text, counted):
            assert text, "an empty delta"
            assert text == scrub_text(text), "a text that was not scrubbed"
            assert counted is None or 0 <= counted <= MAX_COUNT, "an implausible count"
        case ToolCallDelta():
            for text in (event.call_id or "", event.name or "", event.arguments):
                assert text == scrub_text(text), "a text that was not scrubbed"
            assert event.index >= 0, "a negative index"
        case UsageReport(_, usage):
            assert all(
                n is None or 0 <= n <= 4 * MAX_COUNT for n in (usage.prompt_tokens, usage.output_tokens)
            )


def fuzz(name: str, *, count: int, seed: int) -> dict[str, int]:
    """So many bodies from that seed on; how they ended, by number."""
    ends: dict[str, int] = {}
    for number in range(seed, seed + count):
        end = check(name, number)
        ends[end] = ends.get(end, 0) + 1
    return ends


def main() -> int:
    """Run; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "decoders", nargs="*", metavar="decoder", help=f"of {', '.join(DECODERS)}; all without one"
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for name in arguments.decoders or DECODERS:
        began_s = time.perf_counter()
        try:
            ends = fuzz(name, count=arguments.count, seed=arguments.seed)
        except BrokenPromiseError as error:
            sys.stdout.write(f"{error}\n")
            return 1
        sys.stdout.write(f"{name}: {arguments.count} in {time.perf_counter() - began_s:.0f} s, {ends}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
