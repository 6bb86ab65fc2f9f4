"""HTTP as bytes, for what no HTTP client would send."""

import asyncio


async def exchange(port: int, *pieces: bytes, limit_s: float = 15, eof: bool = False) -> bytes:
    """Send pieces over one connection and read until the other side closes it.

    Args:
        eof: Close our half when all is sent.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        async with asyncio.timeout(limit_s):
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                if eof:
                    writer.write_eof()
            except ConnectionError:
                # Refused before all of it was sent: the answer may still be there.
                pass
            return await _rest(reader)
    finally:
        writer.close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    data = b""
    try:
        while piece := await reader.read(1 << 16):
            data += piece
    except ConnectionError:
        # Reset behind the answer: what came before is what counts.
        return data
    return data
