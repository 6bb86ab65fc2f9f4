"""Raw answers of load workers, decoded after the request ended."""

from collections.abc import Iterator

from llama_runner.backends.base import StreamDecoder
from llama_runner.backends.events import RequestSent, Started
from llama_runner.backends.fold import AnswerFold
from llama_runner.net.load import RawAnswer


def decode_reads(decoder: StreamDecoder, raw: RawAnswer) -> AnswerFold:
    """The same fold that a streamed answer gives, from the reads and their own stamps.

    Args:
        decoder: Fresh, of the dialect that was asked (`registry.decoder_for`).

    Returns:
        The fold; its `error` is what ended the answer early, of the transport or of the stream.
    """
    fold = AnswerFold()
    for _ in decode_into(fold, decoder, raw):
        pass
    return fold


def decode_into(fold: AnswerFold, decoder: StreamDecoder, raw: RawAnswer) -> Iterator[None]:
    """The same in steps, one per read, so that a load worker can look after its sockets in between."""
    if raw.t_send_ns is not None:
        fold.add(RequestSent(raw.t_send_ns))
    if raw.t_headers_ns is not None:
        fold.add(Started(raw.t_headers_ns))
    for t_ns, data in raw.reads:
        for event in decoder.feed(t_ns, data):
            fold.add(event)
        yield
    t_end_ns = raw.t_end_ns if raw.t_end_ns is not None else 0
    if raw.error is None:
        for event in decoder.close(t_end_ns):
            fold.add(event)
    # What the stream itself reported says more than how its connection ended afterwards.
    if (error := decoder.failure or raw.error) is not None and not fold.finished:
        fold.fail(error, t_end_ns)
