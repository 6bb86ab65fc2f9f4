"""The proxy opened to other machines, in a network of its own (I8, C6, A8, R1.6, R2)."""

import asyncio
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.namespace_gate import NETWORK, ORDINARY

ALONE = ("unshare", "--map-root-user", "--net", "sh", "-c")


async def _run(*command: str) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stdin=-3)
    said, _ = await process.communicate()
    return process.returncode, said


async def in_a_network(scenario: str, home: Path, *, as_root: bool) -> dict[str, Any]:
    """Run a scenario where its network is all there is."""
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("network namespaces need Linux with unshare and ip")
    if (await _run(*ALONE, f"{NETWORK} && {ORDINARY} true"))[0] != 0:
        pytest.skip("this system allows no network namespaces with virtual interfaces")
    program = shlex.join([sys.executable, "-m", "tests.integration.namespace_gate", scenario, str(home)])
    who = "" if as_root else f"{ORDINARY} "
    code, said = await _run(*ALONE, f"{NETWORK} && exec {who}{program}")
    assert code == 0
    result: dict[str, Any] = json.loads(said)
    return result


async def test_i8_c6_other_machines_come_in_with_the_token_and_as_long_as_there_is_one(home: Path) -> None:
    done = await in_a_network("open_to_others", home, as_root=False)

    assert done["without"]["code"] == 2
    assert "without an access token" in done["without"]["error"]["message"]
    assert "access-token new" in done["without"]["error"]["hint"]
    answered = {
        "nobody": 401,
        "nobody here": 401,
        "bearer": 200,
        "key": 200,
        "bearer here": 200,
        "another host": 421,
        "a neighbour's host": 421,
        "a page": 403,
    }
    assert done["answers"] == answered
    opened = done["faces"]
    assert (opened["open"], opened["token"], opened["problem"]) == (True, True, "")
    assert opened["url"].startswith("http://127.0.0.1:")
    (notice,) = opened["notices"]
    assert notice.startswith(
        "The OpenAI and LM Studio API is open to other machines, unencrypted, at http://10.77"
    )
    # R2: so many of another machine; this one has no such limit.
    assert (done["crowd"], done["crowd here"]) == (32, 60)
    assert (done["removed"]["url"], done["removed"]["open"]) == (None, False)
    assert "without an access token" in done["removed"]["problem"]
    assert done["again"] == answered
    assert done["the old one"] == 401
    assert (done["logged"], done["kept"]) == (False, [])


async def test_a8_as_root_no_listener_leaves_this_machine(home: Path) -> None:
    done = await in_a_network("as_root", home, as_root=True)

    assert done["code"] == 2
    assert "as root" in done["error"]["message"]
    assert "ordinary user" in done["error"]["hint"]
