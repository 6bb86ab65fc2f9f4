import json
import os
from pathlib import Path

import pytest

from llama_runner.core.errors import ModelFileError
from llama_runner.runtime import header_cache
from llama_runner.runtime.gguf import read_gguf
from llama_runner.runtime.header_cache import HeaderCache
from tests.fakes.gguf_files import STRING, good_file, key


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "model_headers.json"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose headers were really read."""
    names = list[str]()

    def noting(path: Path) -> object:
        names.append(path.name)
        return read_gguf(path)

    monkeypatch.setattr(header_cache, "read_gguf", noting)
    return names


def _put(path: Path, *more: bytes) -> Path:
    path.write_bytes(good_file(*more))
    return path


def _template(text: str) -> bytes:
    return key("tokenizer.chat_template", STRING, text)


def test_a_header_is_read_once_and_again_when_the_file_changed(tmp_path: Path, opened: list[str]) -> None:
    cache, path = HeaderCache(), _put(tmp_path / "m.gguf")
    assert not cache.knows(path)
    first = cache.read(path)
    assert cache.read(path) == first
    assert cache.knows(path)
    assert opened == ["m.gguf"]
    os.utime(path, ns=(1, 1))
    assert not cache.knows(path)
    assert cache.read(path) == first
    assert opened == ["m.gguf"] * 2
    # A changed size alone is enough: copying may keep the time.
    path.write_bytes(good_file() + b"more")
    os.utime(path, ns=(1, 1))
    assert cache.read(path).file_size_bytes == len(good_file()) + 4


def test_what_was_read_is_known_to_the_next_program(tmp_path: Path, store: Path, opened: list[str]) -> None:
    paths = [_put(tmp_path / f"{number}.gguf", _template(f"{number}")) for number in range(20)]
    first = HeaderCache(store)
    headers = [first.read(path) for path in paths]
    first.save()
    assert len(opened) == 20
    second = HeaderCache(store)
    assert [second.read(path) for path in paths] == headers
    assert len(opened) == 20


def test_a_bad_file_is_remembered_with_its_reason(tmp_path: Path, store: Path, opened: list[str]) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"<html>404")
    messages = []
    for _ in range(3):
        cache = HeaderCache(store)
        with pytest.raises(ModelFileError, match="web page") as caught:
            cache.read(path)
        messages.append((caught.value.message, caught.value.hint))
        cache.save()
    assert len(set(messages)) == 1
    assert messages[0][1]
    assert opened == ["bad.gguf"]


def test_what_may_be_otherwise_the_next_time_is_not_remembered(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, path = HeaderCache(store), tmp_path / "m.gguf"
    with pytest.raises(ModelFileError, match="no file"):
        cache.read(path)
    _put(path)

    def unreadable(path: Path) -> object:
        raise ModelFileError("m.gguf cannot be read.", "Check its permissions.") from PermissionError()

    with monkeypatch.context() as patch:
        patch.setattr(header_cache, "read_gguf", unreadable)
        with pytest.raises(ModelFileError, match="cannot be read"):
            cache.read(path)
    assert cache.read(path).name == "Tiny"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 1}',
        b'{"version": 1, "files": {"/m": 5}}',
        b'{"version": 1, "files": {"/m": {"size_bytes": "many", "modified_ns": 1, "header": null}}}',
        b'{"version": 99, "files": {}}',
        b"\x00" * 1000,
    ],
)
def test_a_cache_that_is_not_understood_is_begun_anew(tmp_path: Path, store: Path, content: bytes) -> None:
    store.write_bytes(content)
    cache, path = HeaderCache(store), _put(tmp_path / "m.gguf")
    assert cache.read(path).name == "Tiny"
    cache.save()
    assert HeaderCache(store).knows(path)


def test_what_another_version_read_is_not_believed(tmp_path: Path, store: Path) -> None:
    cache, path = HeaderCache(store), _put(tmp_path / "m.gguf")
    cache.read(path)
    cache.save()
    assert HeaderCache(store).knows(path)
    document = json.loads(store.read_bytes())
    store.write_text(json.dumps(document | {"version": document["version"] + 1}))
    assert not HeaderCache(store).knows(path)


def test_a_cache_that_cannot_be_read_or_written_only_costs_time(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for place in (folder, tmp_path / "missing" / "cache.json"):
        cache = HeaderCache(place)
        assert cache.read(_put(tmp_path / "m.gguf")).name == "Tiny"
        cache.save()


def test_nothing_is_written_when_nothing_was_learned(tmp_path: Path, store: Path) -> None:
    cache, path = HeaderCache(store), _put(tmp_path / "m.gguf")
    cache.read(path)
    cache.save()
    os.utime(store, ns=(1, 1))
    cache.read(path)
    cache.save()
    assert store.stat().st_mtime_ns == 1


def test_the_files_seen_last_are_kept(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_cache, "MAX_KEPT", 2)
    cache = HeaderCache(store)
    paths = [_put(tmp_path / f"{number}.gguf") for number in range(3)]
    for path in paths:
        cache.read(path)
    assert [cache.knows(path) for path in paths] == [False, True, True]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text_is_read_and_not_written_down(tmp_path: Path, store: Path) -> None:
    cache, path = HeaderCache(store), tmp_path / os.fsdecode(b"\xff.gguf")
    assert cache.read(_put(path)).name == "Tiny"
    cache.save()
    assert not cache.knows(path)


def test_g14_another_template_than_before_is_told_and_stays_told(tmp_path: Path, store: Path) -> None:
    path = _put(tmp_path / "m.gguf", _template("first"))
    cache = HeaderCache(store)
    cache.read(path)
    assert not cache.template_changed(path)
    _put(path, _template("the second one"))
    cache.read(path)
    assert cache.template_changed(path)
    cache.save()
    # Another change that is none of the template, and another program: it is still not what it was.
    _put(path, _template("the second one"), key("more", STRING, "x"))
    later = HeaderCache(store)
    later.read(path)
    assert later.template_changed(path)


def test_g14_a_changed_template_is_told_across_versions_of_the_program(tmp_path: Path, store: Path) -> None:
    changed, same = tmp_path / "changed.gguf", tmp_path / "same.gguf"
    cache = HeaderCache(store)
    for path in (changed, same):
        cache.read(_put(path, _template("one")))
    cache.save()
    document = json.loads(store.read_bytes())
    store.write_text(json.dumps(document | {"version": document["version"] - 1}))
    _put(changed, _template("quite another"))
    later = HeaderCache(store)
    for path in (changed, same):
        assert not later.knows(path)
        later.read(path)
    assert later.template_changed(changed)
    assert not later.template_changed(same)


def test_g14_a_new_file_and_one_touched_have_no_changed_template(tmp_path: Path) -> None:
    path, cache = _put(tmp_path / "m.gguf", _template("one")), HeaderCache()
    cache.read(path)
    os.utime(path, ns=(1, 1))
    cache.read(path)
    assert not cache.template_changed(path)
    assert not cache.template_changed(tmp_path / "gone.gguf")


def test_g14_a_template_broken_for_a_while_is_compared_with_the_one_before(tmp_path: Path) -> None:
    path, cache = _put(tmp_path / "m.gguf", _template("one")), HeaderCache()
    cache.read(path)
    path.write_bytes(b"half a download")
    with pytest.raises(ModelFileError):
        cache.read(path)
    _put(path, _template("quite another"))
    cache.read(path)
    assert cache.template_changed(path)


def test_g14_the_same_template_after_a_broken_download_is_no_change(tmp_path: Path) -> None:
    path, cache = _put(tmp_path / "m.gguf", _template("one")), HeaderCache()
    cache.read(path)
    path.write_bytes(b"half a download")
    with pytest.raises(ModelFileError):
        cache.read(path)
    _put(path, _template("one"), key("more", STRING, "x"))
    cache.read(path)
    assert not cache.template_changed(path)


def test_g14_a_template_too_long_to_be_known_is_a_change(tmp_path: Path) -> None:
    path, cache = _put(tmp_path / "m.gguf", _template("one")), HeaderCache()
    cache.read(path)
    _put(path, _template("x" * 5_000_000))
    cache.read(path)
    assert cache.template_changed(path)


def test_g16_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _put(tmp_path / "m.gguf")

    def growing(path: Path) -> object:
        found = read_gguf(path)
        path.write_bytes(good_file() + b"grown meanwhile")
        return found

    cache = HeaderCache()
    with monkeypatch.context() as patch:
        patch.setattr(header_cache, "read_gguf", growing)
        cache.read(path)
    assert cache.read(path).file_size_bytes == len(good_file()) + 15
