"""Catalogue D: what listens and is no model server, or is a hostile one. D9, D12 to D14 are with the keys."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from llama_runner.core.errors import UsageError
from llama_runner.core.settings import DiscoverySettings
from llama_runner.core.text import NAME_LIMIT, visible_controls
from llama_runner.discovery.networks import plan_scan
from llama_runner.discovery.products import FIRST_STAGE, LAST_STAGE, MARK_STAGE
from llama_runner.discovery.registry import ServerStatus
from llama_runner.discovery.scan import MAX_PROBES
from tests.fakes import model_servers
from tests.fakes.hostile_servers import HOSTILE
from tests.fakes.model_servers import Reply, document, simulated
from tests.integration.test_discovery import SETTINGS, finder, reason, scan


async def rejection(home: Path, reply: Reply, settings: DiscoverySettings = SETTINGS) -> tuple[str, float]:
    """Why a server that gives this answer to everything is not listed, and how long that took to find out."""
    async with finder(home, settings) as find, simulated({}, otherwise=reply) as server:
        report = await scan(find, server)
        assert report.found == ()
        assert find.registry.records == ()
        return reason(report, server), report.elapsed_s


async def listed_models(home: Path, *ids: str) -> tuple[str, ...]:
    """The models of a server, as found."""
    async with finder(home) as find, simulated(model_servers.generic(*ids)) as server:
        report = await scan(find, server)
    (record,) = report.found
    return tuple(model.id for model in record.models)


@pytest.mark.timing
async def test_d1_what_accepts_and_never_answers_is_given_up_after_2_s(home: Path) -> None:
    """The slot is free afterwards: the next scan finds what is beside it."""
    why, elapsed_s = await rejection(home, HOSTILE["accepts and says nothing"], DiscoverySettings())

    assert why == "No answer within 2 s."
    assert 1.9 < elapsed_s < 4


@pytest.mark.timing
async def test_d1_more_silent_servers_than_are_asked_at_once_do_not_block_a_good_one(home: Path) -> None:
    async with finder(home) as find, AsyncExitStack() as stack:
        silent = [
            await stack.enter_async_context(
                simulated({}, host=f"127.0.3.{number}", otherwise=Reply(hang=True))
            )
            for number in range(1, MAX_PROBES + 2)
        ]
        good = await stack.enter_async_context(simulated(model_servers.generic("m"), host="127.0.3.99"))
        ports = [server.port for server in (*silent, good)]
        hosts = [server.host for server in (*silent, good)]
        report = await find.manager.scan(plan_scan(SETTINGS, hosts=hosts, ports=ports))

    assert [record.base_url for record in report.found] == [good.url]
    assert len(report.rejected) == len(silent)
    assert report.elapsed_s < 5


@pytest.mark.timing
async def test_d2_one_byte_at_a_time_has_two_answers_time_for_all_of_a_probe(home: Path) -> None:
    """4 s as the settings have it. The first two answers come in time, every later one drips."""
    routes = {**model_servers.generic("m"), "/": Reply(b"{}")}
    async with finder(home) as find, simulated(routes, otherwise=Reply(b"{}" * 50, drip_s=0.2)) as server:
        report = await scan(find, server)

    (record,) = report.found
    assert record.product == "openai-compatible"
    assert report.elapsed_s < 2 * 2 * SETTINGS.probe_timeout_s


@pytest.mark.parametrize("name", ["garbage", "TLS", "SSH", "HTTP 0.9"])
async def test_d3_what_is_not_http_is_not_an_llm_server(home: Path, name: str) -> None:
    why, _ = await rejection(home, HOSTILE[name])

    assert "not an llm server" in why.lower()


@pytest.mark.parametrize("body", [b"<html>shop</html>", b"", b"null", b"[]", b'"x"', b"{}"])
async def test_d4_what_lists_no_models_is_not_listed_and_says_why(home: Path, body: bytes) -> None:
    why, _ = await rejection(home, Reply(body))

    assert "not an LLM server" in why


async def test_d5_a_list_of_a_million_models_is_cut_with_a_notice(home: Path) -> None:
    entries = [{"id": f"m{number}", "owned_by": "vllm"} for number in range(20_000)]
    routes = {"/v1/models": document({"object": "list", "data": entries})}
    async with finder(home) as find, simulated(routes) as server:
        report = await scan(find, server)

    (record,) = report.found
    assert len(record.models) == 2000
    assert record.status is ServerStatus.ONLINE
    assert "2,000" in record.problem


async def test_d5_a_body_of_many_megabytes_is_read_to_2_mib_only(home: Path) -> None:
    why, _ = await rejection(home, HOSTILE["a body without end"])

    assert "longer than 2097152 bytes" in why


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "zstd", "nonsense"])
async def test_d6_a_compressed_answer_is_refused_unread(home: Path, encoding: str) -> None:
    bomb = HOSTILE["a gzip bomb"]
    packed = Reply(bomb.body, 200, {**bomb.headers, "Content-Encoding": encoding})

    why, _ = await rejection(home, packed)

    assert "compressed" in why


HOSTILE_NAMES = (
    "<img src=file:///etc/passwd>",
    "\u202egnp.exe",
    "nul\x00byte",
    "two\nlines",
    "\U0001f468\u200d" * 200,
    "\x1b]0;title\x07\x1b[2J",
    "x" * 100_000,
)


async def test_d7_hostile_names_are_kept_as_they_are_and_shown_plain(home: Path) -> None:
    found = await listed_models(home, *HOSTILE_NAMES)

    assert len(found) == len(HOSTILE_NAMES)
    for name in found:
        shown = visible_controls(name)
        assert len(shown) <= NAME_LIMIT
        assert shown.isprintable()


PATH_NAMES = (
    "../../x",
    "C:\\x",
    "con",
    "a\\..\\b",
    "model",
    "Model",
    "caf\u00e9",
    "cafe\u0301",
    "/etc/passwd",
)


async def test_d8_names_like_paths_are_names_and_make_no_file(home: Path) -> None:
    found = await listed_models(home, *PATH_NAMES)

    assert found == PATH_NAMES
    written = {path.name for path in home.rglob("*") if path.is_file()}
    assert written <= {"servers.json", "servers.lock"}


async def test_d8_the_same_name_on_two_servers_and_twice_on_one_stays_apart(home: Path) -> None:
    async with (
        finder(home) as find,
        simulated(model_servers.generic("same", "same"), host="127.0.0.2") as one,
        simulated(model_servers.generic("same"), host="127.0.0.3") as other,
    ):
        report = await scan(find, one, other)
        labels = {find.registry.target(record.id, "same").label for record in report.found}

    assert len({record.id for record in report.found}) == 2
    assert len(labels) == 2


REDIRECTS = ("{elsewhere}/v1/models", "file:///etc/passwd", "/v1/models", "http://169.254.169.254/latest")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", REDIRECTS)
async def test_d10_redirects_are_named_and_not_followed(home: Path, status: int, target: str) -> None:
    async with simulated(model_servers.generic("m"), host="127.0.0.3") as elsewhere:
        moved = Reply(b"", status, {"Location": target.format(elsewhere=elsewhere.url)})
        why, _ = await rejection(home, moved)

        assert "redirects" in why
        assert "169.254" not in why
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://evil\\@127.0.0.1", "http://127.1", "0x7f000001", "2130706433", "[::ffff:1.2.3.4]"),
        *("h:99999", "h:0", "http://u:p@h", "http://h/#x", "http://\uff11\uff12\uff17.0.0.1"),
        *("http://h\r\nX: y", "ftp://h", "http://h/path", "http://h?x", "http://", "http://[::1", "h:80:80"),
    ],
)
async def test_d11_addresses_that_can_be_read_in_two_ways_are_refused(home: Path, url: str) -> None:
    async with finder(home) as find:
        with pytest.raises(UsageError):
            await find.manager.add(url)

        assert find.registry.records == ()


@pytest.mark.parametrize(
    "name",
    [
        "ten thousand headers",
        "a header of a megabyte",
        "two lengths",
        "a folded header",
        "bytes that no header has",
    ],
)
async def test_d15_a_bomb_of_headers_is_closed_with_a_reason(home: Path, name: str) -> None:
    why, _ = await rejection(home, HOSTILE[name])

    assert "not an llm server" in why.lower()


@pytest.mark.parametrize("version", [-1, 1.5, None, "9" * 5000, "", ["1"], {"a": 1}, True])
async def test_d16_versions_that_are_none_are_unknown(home: Path, version: Any) -> None:
    routes = {**model_servers.vllm("m"), "/version": document({"version": version})}
    async with finder(home) as find, simulated(routes) as server:
        report = await scan(find, server)

    assert report.found[0].version is None


@pytest.mark.parametrize(
    "network",
    ["0.0.0.0/0", "10.0.0.0/8", "8.8.8.0/24", "::/0", "192.168.1.5/33", "", "127.0.0.0/8", "169.254.0.0/16"],
)
def test_d17_networks_that_are_not_ones_own_are_refused_and_nothing_is_sent(network: str) -> None:
    """No plan, no scan: `DiscoveryManager.scan` takes nothing else."""
    with pytest.raises(UsageError):
        plan_scan(DiscoverySettings(), networks=[network])


async def test_r10_a_probe_reads_known_paths_says_who_it_is_and_keeps_nothing_open(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.mlx_lm("m")) as server:
        await scan(find, server)

    probes = [
        request for request in server.requests if request[1] in (*FIRST_STAGE, *MARK_STAGE, *LAST_STAGE)
    ]
    assert len(probes) > 10
    assert {method for method, _, _ in server.requests} == {"GET"}
    for _, _, headers in server.requests:
        assert headers["user-agent"].startswith("llama-runner/")
        assert not {"authorization", "x-api-key", "cookie", "origin", "referer"} & set(headers)
    # The last one is the backend's, which asks for the list.
    assert all(headers["connection"] == "close" for _, _, headers in server.requests[:-1])


async def test_r5_hostile_json_is_no_model_list(home: Path) -> None:
    for name in ("brackets without end", "numbers that are none"):
        why, _ = await rejection(home, HOSTILE[name])
        assert "no list of models" in why
    broken = json.dumps({"object": "list", "data": [{"id": "a\ud800b"}]}).encode()
    async with finder(home) as find, simulated({"/v1/models": Reply(broken)}) as server:
        report = await scan(find, server)
    assert all(model.id.encode() for record in report.found for model in record.models)


async def test_d14_a_scan_finds_encrypted_servers_by_their_own_address(home: Path, tmp_path: Path) -> None:
    """One whose certificate is accepted is listed; of any other it is said what is wrong with it."""
    pytest.importorskip("cryptography")
    from tests.fakes.certificates import certificate
    from tests.fakes.tls_models import tls_model_server

    async with tls_model_server(certificate("127.0.0.1"), tmp_path) as server, finder(home) as find:
        plan = plan_scan(SETTINGS, hosts=["127.0.0.1"], ports=[server.port])
        report = await find.manager.scan(plan)

    assert report.found == ()
    (rejected,) = report.rejected
    assert rejected.url == server.url
    assert rejected.url.startswith("https://")
    assert "self-signed" in rejected.reason
    assert not b"".join(server.heads)


@pytest.mark.parametrize(
    "words",
    [
        b"<html>400 The plain HTTP request was sent to HTTPS port</html>",
        b"Client sent an HTTP request to an HTTPS server.\n",
    ],
)
async def test_d14_a_port_that_says_it_wants_tls_and_has_none_is_not_listed(home: Path, words: bytes) -> None:
    why, _ = await rejection(home, Reply(words, 400))

    assert "not an LLM server" in why
