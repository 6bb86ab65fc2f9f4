"""The program at a terminal, with a person who answers. POSIX only."""

import asyncio
import os
import subprocess

from llama_runner.system.environment import self_command


async def typed(*arguments: str, answer_to: str, answer: str) -> tuple[str, int]:
    """Run a command, type `answer` once it has asked `answer_to`; all it said, and its exit code."""
    ours, its = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *self_command(), *arguments, stdin=its, stderr=its, stdout=subprocess.DEVNULL
    )
    os.close(its)
    said = b""
    try:
        while answer_to.encode() not in said:
            said += await asyncio.to_thread(os.read, ours, 4096)
        os.write(ours, answer.encode())
        code = await process.wait()
        said += await asyncio.to_thread(os.read, ours, 65536)
    finally:
        os.close(ours)
    return said.decode("utf-8", errors="replace"), code
