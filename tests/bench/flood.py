"""A server that sends whole answers as fast as they are taken, in large writes: the client is the slower one.

    python -m tests.bench.flood --tokens 100000

The metronome writes and stamps every token by itself, which costs more than decoding it.
"""

import argparse
import asyncio
import json
import sys
from typing import Final

from tests.fakes.metronome_dialects import Ollama, OpenAI, Progress
from tests.fakes.metronome_plan import Plan

HEAD: Final = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
CHUNK_BYTES: Final = 64 * 1024


def answer(dialect: OpenAI | Ollama, tokens: int) -> bytes:
    """A whole HTTP answer of so many tokens."""
    plan = Plan(tokens=tokens)
    body = b"".join(dialect.chunk(plan, Progress(number, 1)) for number in range(1, tokens + 1))
    body += dialect.end(plan)
    chunks = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD.format(dialect.content_type).encode() + framed + b"0\r\n\r\n"


async def serve(tokens: int) -> None:
    """Listen, say where, and serve until the standard input ends."""
    answers = {True: answer(Ollama("m"), tokens), False: answer(OpenAI("m"), tokens)}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(answers[b" /api/chat " in head])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, required=True)
    asyncio.run(serve(parser.parse_args().tokens))
