"""One bounded TCP connect: what comes before any HTTP probe."""

import asyncio
import errno

from llama_runner.core.errors import UnreachableError


async def tcp_open(host: str, port: int, timeout_s: float) -> bool:
    """Whether something accepts a TCP connection there. A refusal, silence or an unknown name is False."""
    try:
        await tcp_check(host, port, timeout_s)
    except UnreachableError:
        return False
    return True


async def tcp_check(host: str, port: int, timeout_s: float) -> None:
    """Open and close one TCP connection. Raises UnreachableError that says why it failed."""
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError as error:
        raise UnreachableError(
            f"{where} does not answer.", "Check that no firewall is in between."
        ) from error
    except OSError as error:
        raise UnreachableError(
            f"{_refusal(error, where)}", "Start the server, or correct the address."
        ) from error
    # Nothing was sent, so there is nothing to wait for: aborting leaves no lingering socket behind a scan.
    writer.transport.abort()


def _refusal(error: OSError, where: str) -> str:
    if error.errno == errno.ECONNREFUSED:
        return f"Nothing listens at {where}."
    return f"{where} cannot be reached."
