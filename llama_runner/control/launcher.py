"""Finding the service of a home, starting one, and ending the one we started.

A started service is tied to us by its stdin: it ends when we go, even by `kill -9`, unless it is to keep
serving.
"""

import asyncio
import logging
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import httpx

from llama_runner.control.client import ControlClient, error_in
from llama_runner.control.runfile import AlreadyRunningError, running_service
from llama_runner.core.errors import ServerError, ServiceError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.core.paths import Home, home_at
from llama_runner.system.background import BackgroundProgram
from llama_runner.system.environment import self_command
from llama_runner.system.exits import describe_exit
from llama_runner.system.identity import is_same

log = logging.getLogger(__name__)

# A first start on a cold disk, under a virus scanner, takes seconds; a warm one less than one.
START_LIMIT_S: Final = 30.0
# Between two looks for a service that another program is starting or ending right now.
LOOK_AGAIN_S: Final = 0.05
# The service gives its instances their grace, then kills them and closes; beyond this it hangs.
END_LIMIT_S: Final = 15.0
# Longest text the service writes before it is ready: one error document.
MAX_START_OUTPUT_BYTES: Final = 64 * 1024
# What a service that cannot even start has to say.
START_LOG: Final = "service-start.log"


async def attach(home: Home, *, http: httpx.AsyncClient) -> ControlClient | None:
    """The service of `home` that runs now, None when none does, when it is closing or does not answer.

    The token goes only to the process that wrote the run file: pid and start time are checked first.
    """
    running = running_service(home)
    if running is None:
        return None
    client = ControlClient(url=running.url, token=running.token, http=http)
    try:
        health = await client.health()
    except (ServerError, ServiceError) as error:
        log.warning("service does not answer pid=%d reason=%s", running.pid, error.kind)
        return None
    return client if health.pid == running.pid and health.status == "ok" else None


async def stop_running(home: Home, *, http: httpx.AsyncClient) -> int | None:
    """End the service of `home` and wait until it is gone; its pid, None when none runs.

    Raises:
        ServerError: It does not answer.
        ServiceError: It does not end.
    """
    running = running_service(home)
    if running is None:
        return None
    await ControlClient(url=running.url, token=running.token, http=http).shutdown()
    try:
        async with asyncio.timeout(END_LIMIT_S):
            # No event tells of the end of a process that is not our child.
            while is_same(running.process):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError as error:
        raise ServiceError(
            f"The service (pid {running.pid}) does not end.", f"See the log in {home.logs_dir}, then end it."
        ) from error
    return running.pid


class OwnedService:
    """A service that we started and that ends with us.

    Attributes:
        client: Its control API.
        keep: Whether it stays when it is closed; see `set_keep`.
    """

    def __init__(self, *, client: ControlClient, program: BackgroundProgram, keep: bool) -> None:
        self.client = client
        self.keep = keep
        self._program = program

    @property
    def pid(self) -> int:
        """Its process."""
        return self._program.pid

    async def set_keep(self, keep: bool) -> None:
        """Change whether it keeps serving when we go."""
        await self.client.keep(keep)
        self.keep = keep

    async def close(self) -> None:
        """End it and wait until it is gone; leave it when it is to be kept or others use it. Idempotent."""
        if self.keep or not await self._ends():
            self._program.let_go()
        else:
            await _end(self._program)

    async def _ends(self) -> bool:
        try:
            return await self.client.release()
        except (ServerError, ServiceError) as error:
            log.info("service not asked to let go reason=%s", error.kind)
            return True
        except asyncio.CancelledError:
            # It sees the end of its stdin and decides by itself.
            self._program.let_go()
            raise


@dataclass(frozen=True, slots=True)
class ServiceConnection:
    """A service, found or started.

    Attributes:
        owned: Set when we started it.
        lease: Set when somebody else did: what keeps it from ending with that one while we rely on it.
    """

    client: ControlClient
    owned: OwnedService | None = None
    lease: AsyncExitStack | None = None

    async def close(self) -> None:
        """End the service if it is ours and nobody else relies on it; let go of it otherwise."""
        if self.owned is not None:
            await self.owned.close()
        if self.lease is not None:
            await self.lease.aclose()


async def find_service(home: Home, *, http: httpx.AsyncClient) -> ServiceConnection | None:
    """The service of `home` that runs now, held with a lease; None when none does or it is ending."""
    client = await attach(home, http=http)
    if client is None:
        return None
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(client.lease())
        except (ServerError, ServiceError) as error:
            log.info("service went away while it was found reason=%s", error.kind)
            return None
        return ServiceConnection(client, lease=stack.pop_all())


async def start_owned(
    home: Home, *, http: httpx.AsyncClient, demo: bool = False, keep_serving: bool = False
) -> OwnedService:
    """Start the service of `home` and wait until it answers.

    Raises:
        AlreadyRunningError: Another program was quicker.
        LlamaRunnerError: What the service said was wrong.
    """
    try:
        program = BackgroundProgram(
            service_command(home, demo=demo, keep_serving=keep_serving),
            env=os.environ,
            errors_to=home.logs_dir / START_LOG,
        )
    except OSError as error:
        raise ServiceError(f"The service could not be started: {error.strerror}.", "Run `doctor`.") from error
    try:
        async with asyncio.timeout(START_LIMIT_S):
            await asyncio.to_thread(_wait_ready, program, home)
            client = await attach(home, http=http)
    except BaseException as error:
        program.kill()
        await asyncio.shield(asyncio.to_thread(_collect, program))
        if isinstance(error, TimeoutError):
            raise ServiceError(
                f"The service was not ready after {START_LIMIT_S:g} seconds.",
                f"See the log in {home.logs_dir}.",
            ) from error
        raise
    if client is None:
        await _end(program)
        raise ServiceError("The service started but does not answer.", f"See the log in {home.logs_dir}.")
    return OwnedService(client=client, program=program, keep=keep_serving)


async def attach_or_start(
    home: Home, *, http: httpx.AsyncClient, demo: bool = False, keep_serving: bool = False
) -> ServiceConnection:
    """The running service of `home`, else a new one that we own.

    Waits for one that another program is starting or ending at this moment.

    Raises:
        LlamaRunnerError: What the service said was wrong, or that one runs and does not answer.
    """
    deadline_s = asyncio.get_running_loop().time() + START_LIMIT_S
    while True:
        if (found := await find_service(home, http=http)) is not None:
            return found
        try:
            owned = await start_owned(home, http=http, demo=demo, keep_serving=keep_serving)
        except AlreadyRunningError:
            if asyncio.get_running_loop().time() > deadline_s:
                raise
        else:
            return ServiceConnection(owned.client, owned)
        await asyncio.sleep(LOOK_AGAIN_S)


def service_command(home: Home, *, demo: bool = False, keep_serving: bool = False) -> list[str]:
    """The argv of an owned service for `home`."""
    command = [*self_command(), "serve", "--owned", "--json", "--quiet"]
    if home == home_at(home.root):
        command += ["--home", str(home.root)]
    # Otherwise it is the user's own spread of folders, which the inherited environment leads to again.
    if demo:
        command.append("--demo")
    if keep_serving:
        command.append("--keep-serving")
    return command


def _wait_ready(program: BackgroundProgram, home: Home) -> None:
    """Block until the service said that it is ready; raise what it said instead."""
    line = program.read_line()
    if _event(line) == "ready":
        return
    said = line + program.read_rest()
    code = program.wait(END_LIMIT_S)
    how = "it closed its output" if code is None else describe_exit(code, sys.platform)
    raise error_in(said) or ServiceError(
        f"The service ended before it was ready ({how}).", f"See {home.logs_dir / START_LOG}."
    )


def _event(line: bytes) -> JsonValue:
    try:
        document = parse_json(line, max_bytes=MAX_START_OUTPUT_BYTES)
    except JsonRejected:
        return None
    return document.get("event") if isinstance(document, dict) else None


def _collect(program: BackgroundProgram) -> None:
    program.wait(END_LIMIT_S)
    program.let_go()


async def _end(program: BackgroundProgram) -> None:
    program.end_stdin()
    try:
        if await asyncio.to_thread(program.wait, END_LIMIT_S) is None:
            log.warning("service did not end in time and was killed pid=%d", program.pid)
    finally:
        # Also when cancelled: nothing that is ours stays.
        program.kill()
        program.let_go()
