"""The one list of servers."""

from dataclasses import replace

import pytest

from llama_runner.backends.base import Endpoint, Engine
from llama_runner.backends.models import ModelInfo
from llama_runner.core.errors import NotFoundError
from llama_runner.discovery.registry import (
    Certainty,
    ServerRecord,
    ServerRegistry,
    ServerSource,
    ServerStatus,
)

URL = "http://127.0.0.1:8080"
LAN = "http://192.168.7.20:8080"


def record(
    url: str = URL, *, source: ServerSource = ServerSource.FOUND, identifier: str = ""
) -> ServerRecord:
    return ServerRecord(
        id=identifier or url,
        base_url=url,
        engine=Engine.OPENAI,
        product="openai-compatible",
        certainty=Certainty.LIKELY,
        status=ServerStatus.ONLINE,
        source=source,
        models=(ModelInfo("m"),),
    )


def test_a_change_is_published_once_and_an_equal_record_not_at_all() -> None:
    registry = ServerRegistry()

    registry.upsert(record())
    registry.upsert(record())

    assert registry.revision == 1
    assert registry.changes.latest == (record(),)


def test_a_server_keeps_its_place_and_its_key_when_it_changes() -> None:
    registry = ServerRegistry()
    registry.upsert(record())
    registry.upsert(record("http://127.0.0.1:9"))
    registry.set_key(URL, "secret")

    registry.upsert(replace(record(), status=ServerStatus.OFFLINE))

    assert [r.id for r in registry.records] == [URL, "http://127.0.0.1:9"]
    assert registry.endpoint_of(URL) == Endpoint(URL, Engine.OPENAI, "secret")


def test_keys_never_show_in_a_record() -> None:
    registry = ServerRegistry()
    registry.upsert(record())
    registry.set_key(URL, "secret")

    assert "secret" not in repr(registry.records)
    assert "secret" not in repr(registry.endpoint_of(URL))


def test_removing_forgets_the_key_too() -> None:
    registry = ServerRegistry()
    registry.upsert(record())
    registry.set_key(URL, "secret")

    registry.remove(URL)
    registry.remove(URL)

    assert not registry.has_key(URL)
    assert registry.get(URL) is None
    with pytest.raises(NotFoundError):
        registry.endpoint_of(URL)


def test_taking_a_key_away_leaves_the_server() -> None:
    registry = ServerRegistry()
    registry.upsert(record())
    registry.set_key(URL, "secret")
    registry.set_key(URL, None)

    assert registry.endpoint_of(URL).api_key is None


def test_our_own_instance_wins_over_a_server_added_by_hand() -> None:
    registry = ServerRegistry()
    own = record(source=ServerSource.SERVICE, identifier="service:1")
    registry.upsert(record(source=ServerSource.MANUAL))
    registry.upsert(own)

    assert registry.at(URL) == own
    assert registry.at("http://127.0.0.1:1") is None


def test_our_own_instance_takes_the_place_of_one_that_a_scan_found() -> None:
    registry = ServerRegistry()
    own = record(source=ServerSource.SERVICE, identifier="service:1")
    other = record("http://127.0.0.1:9")
    registry.upsert(record())
    registry.upsert(other)

    registry.upsert(own)

    assert registry.records == (other, own)


def test_what_a_person_decided_stays_when_an_older_record_is_put_in() -> None:
    registry = ServerRegistry()
    registry.upsert(record(LAN))
    before = registry.known(LAN)

    registry.edit(
        LAN, source=ServerSource.MANUAL, favourite=True, note="the big one", trusted=True, tls_pin="ab"
    )
    registry.upsert(replace(before, status=ServerStatus.OFFLINE))

    now = registry.known(LAN)
    assert (now.source, now.favourite, now.note) == (ServerSource.MANUAL, True, "the big one")
    assert (now.trusted, now.tls_pin) == (True, "ab")
    assert now.status is ServerStatus.OFFLINE


def test_r11_only_this_machine_is_trusted_from_the_start() -> None:
    assert record().trusted
    assert record("http://localhost:1").trusted
    assert record(LAN, source=ServerSource.SERVICE).trusted
    assert not record(LAN).trusted
    assert not record(LAN, source=ServerSource.MANUAL).trusted


def test_d13_trust_ends_when_another_server_seems_to_answer() -> None:
    registry = ServerRegistry()
    registry.upsert(record(LAN))
    registry.edit(LAN, trusted=True)

    registry.upsert(replace(registry.known(LAN), changed="It was vllm and now answers as koboldcpp."))

    assert not registry.known(LAN).trusted


def test_d13_no_key_goes_to_a_server_that_may_be_another_one() -> None:
    registry = ServerRegistry()
    registry.upsert(record())
    registry.set_key(URL, "secret")
    before = registry.known(URL)

    registry.edit(URL, changed="It was vllm and now answers as koboldcpp.")

    assert registry.has_key(URL)
    assert registry.target(URL, "m").endpoint.api_key is None
    assert registry.endpoint(before).api_key is None  # A record from before the change was seen.
    registry.edit(URL, changed="")
    assert registry.endpoint_of(URL).api_key == "secret"


def test_a_removed_server_can_be_put_back_where_it_was_with_its_key() -> None:
    registry = ServerRegistry()
    for port in (1, 2, 3):
        registry.upsert(record(f"http://127.0.0.1:{port}"))
    before = registry.records
    registry.set_key("http://127.0.0.1:2", "secret")

    removed = registry.take_off("http://127.0.0.1:2")

    assert "secret" not in repr(removed)
    registry.restore(removed)
    registry.restore(removed)
    assert registry.records == before
    assert registry.endpoint_of("http://127.0.0.1:2").api_key == "secret"


def test_labels_name_the_address_unless_the_model_is_ours() -> None:
    registry = ServerRegistry()
    registry.upsert(record())
    registry.upsert(record("http://127.0.0.1:9", source=ServerSource.SERVICE, identifier="service:1"))

    assert registry.target(URL, "m").label == "m · 127.0.0.1:8080"
    assert registry.target("service:1", "m").label == "m"


def test_d7_hostile_model_names_are_shown_plain_and_asked_for_as_they_are() -> None:
    registry = ServerRegistry()
    registry.upsert(record())
    name = "a\u202eb\n" + "x" * 1000

    target = registry.target(URL, name)

    assert target.model_id == name
    assert "\u202e" not in target.label
    assert "\n" not in target.label
    assert len(target.label) < 300
