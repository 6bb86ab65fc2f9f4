"""Two programs, one list of servers."""

from dataclasses import replace
from typing import Any

from llama_runner.backends.base import Engine
from llama_runner.discovery.merging import merge
from llama_runner.discovery.registry import Certainty, ServerRecord, ServerSource, ServerStatus


def server(port: int, **known: Any) -> ServerRecord:
    url = f"http://192.168.7.20:{port}"
    record = ServerRecord(
        id=url,
        base_url=url,
        engine=Engine.OPENAI,
        product="openai-compatible",
        certainty=Certainty.LIKELY,
        status=ServerStatus.ONLINE,
        source=ServerSource.FOUND,
    )
    return replace(record, **known)


A, B, C = server(1), server(2), server(3)


def test_what_either_side_added_is_there() -> None:
    assert merge((A,), (A, B), (C, A)) == (A, B, C)


def test_what_either_side_removed_is_gone() -> None:
    assert merge((A, B, C), (B, C), (A, B)) == (B,)


def test_a_decision_outweighs_a_removal_elsewhere() -> None:
    marked = replace(A, favourite=True)

    assert merge((A,), (marked,), ()) == (marked,)


def test_what_was_only_seen_again_does_not_bring_a_removed_server_back() -> None:
    assert merge((A,), (replace(A, latency_s=0.1),), ()) == ()


def test_each_side_keeps_what_it_decided_and_mine_wins_where_both_did() -> None:
    mine = (replace(A, note="mine", latency_s=0.1), replace(B, latency_s=0.2), replace(C, note="mine"))
    theirs = (A, replace(B, note="theirs", latency_s=9.0), replace(C, note="theirs"))

    assert merge((A, B, C), mine, theirs) == (mine[0], replace(mine[1], note="theirs"), mine[2])


def test_both_added_the_same_server() -> None:
    assert merge((), (replace(A, source=ServerSource.MANUAL),), (A,)) == (
        replace(A, source=ServerSource.MANUAL),
    )


def test_where_a_key_is_kept_is_not_this_files_to_say() -> None:
    keyed = replace(A, key_place="keyring")

    assert merge((keyed,), (keyed,), (replace(A, note="theirs"),)) == (replace(keyed, note="theirs"),)
