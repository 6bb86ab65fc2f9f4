"""Ways to load a model, each on the real engine: profiles, adapters, projectors, drafts, ranking, engines."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_runner.core.errors import UsageError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.settings import NamedEngine
from llama_runner.runtime.instance import InstanceState
from llama_runner.runtime.manager import RuntimeManager
from tests.fakes.fake_llama_server import fake_engine, starts
from tests.fakes.gguf_companions import write_tiny_adapter, write_tiny_projector
from tests.fakes.gguf_files import write_tiny_llama
from tests.integration.runtime_support import open_manager

TEXT = {"prompt": "Hello there", "temperature": 0, "max_tokens": 12, "ignore_eos": True}
SMALL = LoadOptions(context_length=256, threads=1, parallel=1, warmup=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    """A tiny model with a projector and an adapter in a folder of its own, and its twin as a draft."""
    root = tmp_path_factory.mktemp("models")
    (root / "tiny").mkdir()
    tiny = write_tiny_llama(root / "tiny" / "tiny.gguf", demo_model)
    write_tiny_projector(root / "tiny" / "mmproj-tiny.gguf")
    write_tiny_adapter(root / "tiny" / "style.gguf")
    (root / "draft").mkdir()
    shutil.copy(tiny, root / "draft" / "draft.gguf")
    return root


@pytest.fixture
async def manager(tmp_path: Path, engine: Path, models: Path) -> AsyncIterator[RuntimeManager]:
    async with open_manager(tmp_path, engine, models=models) as found:
        yield found


async def loaded(manager: RuntimeManager, model: str = "tiny", **options: Any) -> tuple[str, dict[str, str]]:
    """Load a model, and where it answers with which key."""
    await manager.ensure_ready(model, SMALL.model_copy(update=options))
    url, api_key = manager.access(model)
    return url, {"Authorization": f"Bearer {api_key}"}


async def post(at: tuple[str, dict[str, str]], path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=at[0], headers=at[1], timeout=30) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def said(manager: RuntimeManager, **options: Any) -> str:
    """What the tiny model says when it is loaded with these options."""
    text = (await post(await loaded(manager, **options), "/v1/completions", TEXT))["choices"][0]["text"]
    await manager.unload("tiny")
    return str(text)


async def test_the_default_profile_counts_for_whoever_asks_for_the_model(manager: RuntimeManager) -> None:
    options = SMALL.model_copy(update={"context_length": 512})
    await manager.library.save_profile("tiny", "half", options)
    await manager.library.set_default_profile("tiny", "half")
    async with manager.use("tiny"):
        activity = await manager.activity("tiny")
    (instance,) = manager.instances()
    assert instance.profile == "half"
    assert (activity.slots, activity.slot_context) == (1, 512)


async def test_loading_anew_finishes_what_is_in_work_and_gives_the_new_one_to_everybody(
    manager: RuntimeManager,
) -> None:
    first = await manager.ensure_ready("tiny", SMALL)
    manager.pin("tiny", True)
    wider = SMALL.model_copy(update={"context_length": 512})
    # As it is, it is joined; with the same options there is nothing to load anew.
    assert (await manager.load("tiny", wider)).id == first.id
    assert (await manager.load("tiny", SMALL, reload=True)).id == first.id
    async with asyncio.TaskGroup() as group, manager.use("tiny") as used:
        anew = group.create_task(manager.load("tiny", wider, reload=True))
        late = group.create_task(manager.ensure_ready("tiny", SMALL))
        at = used.url, {"Authorization": f"Bearer {used.api_key}"}
        assert (await post(at, "/v1/completions", TEXT))["choices"]
        assert not anew.done() and not late.done()
    assert anew.result().id == late.result().id != first.id
    assert (await manager.activity("tiny")).slot_context == 512
    assert manager.instance("tiny").pinned


async def test_an_adapter_changes_what_is_said_and_its_strength_counts(manager: RuntimeManager) -> None:
    plain = await said(manager)
    assert await said(manager, loras=("style.gguf",)) != plain
    assert await said(manager, loras=("style.gguf:0",)) == plain


async def test_a_draft_guesses_what_the_model_says(manager: RuntimeManager) -> None:
    at = await loaded(manager, draft_model="draft", draft_tokens=4)
    await post(at, "/v1/completions", TEXT)
    activity = await manager.activity("tiny")
    assert activity.output_tokens == 12 and activity.decode_tps is not None
    # Its twin guesses right, mostly.
    assert activity.drafted_tokens and activity.accepted_tokens
    assert "mmproj" in " ".join((await manager.plan("tiny", LoadOptions(draft_model="draft"))).command)


async def test_the_projector_beside_a_model_is_loaded_unless_the_options_say_no(
    manager: RuntimeManager,
) -> None:
    async def sees(**options: Any) -> bool:
        url, headers = await loaded(manager, **options)
        async with httpx.AsyncClient(headers=headers, timeout=60) as http:
            answer = (await http.get(f"{url}/props")).json()
        await manager.unload("tiny")
        return bool(answer["modalities"]["vision"])

    assert await sees()
    assert not await sees(projector="none")
    with_it = (await manager.plan("tiny")).need.weights_bytes
    assert with_it > (await manager.plan("tiny", LoadOptions(projector="none"))).need.weights_bytes


async def test_models_rank_and_embed_when_they_are_loaded_for_it(manager: RuntimeManager) -> None:
    ranks = await loaded(manager, rerank=True, projector="none")
    ranked = await post(ranks, "/v1/rerank", {"query": "a", "documents": ["b", "c", "d"]})
    assert len(ranked["results"]) == 3
    await manager.unload("tiny")
    embeds = await loaded(manager, embedding=True, pooling="mean", projector="none")
    vectors = (await post(embeds, "/v1/embeddings", {"input": ["a", "b"]}))["data"]
    assert [len(one["embedding"]) for one in vectors] == [64, 64]


async def test_two_engines_run_two_models_side_by_side(tmp_path: Path, engine: Path, models: Path) -> None:
    other = fake_engine(tmp_path / "other")
    engines = {"other": NamedEngine(linux=str(other))}
    async with open_manager(tmp_path, engine, models=models, engines=engines) as manager:
        await loaded(manager)
        await manager.ensure_ready("draft", LoadOptions(engine="other", threads=1))
        assert [(one.model_id, one.engine, one.state) for one in manager.instances()] == [
            ("tiny", "default", InstanceState.READY),
            ("draft", "other", InstanceState.READY),
        ]
        assert len(starts(other)) == 1
        # Options are checked against the engine in use.
        await manager.plan("tiny", LoadOptions(flash_attention="on"))
        with pytest.raises(UsageError, match="no --flash-attn"):
            await manager.plan("tiny", LoadOptions(flash_attention="on", engine="other"))


async def test_a_plan_shows_the_command_line_that_is_started(manager: RuntimeManager) -> None:
    """But for the port, and without the key."""
    options = SMALL.model_copy(update={"loras": ("style.gguf:0.5",), "draft_model": "draft"})
    planned = list((await manager.plan("tiny", options)).command)
    await manager.ensure_ready("tiny", options)
    (line,) = (line for line in manager.log_lines("tiny", 0)[0] if line.startswith("$ "))
    port = str(manager.instances()[0].port)
    assert [part.replace(port, "0") for part in line[2:].split(" ")] == planned
    assert manager.access("tiny")[1] not in line


async def test_who_is_spread_over_other_machines_is_told(tmp_path: Path, engine: Path, models: Path) -> None:
    """I9: only machines of the user's list, with a warning before and a notice after; nobody answers here."""
    told: list[str] = []
    worker = "127.0.0.1:1"
    async with open_manager(tmp_path, engine, models=models, rpc_workers=(worker,), told=told) as manager:
        options = SMALL.model_copy(update={"rpc_workers": (worker,)})
        plan = await manager.plan("tiny", options)
        assert plan.command[-2:] == ("--rpc", worker)
        assert "without encryption" in plan.warnings[-1]
        with pytest.raises(UsageError, match="not among the machines"):
            await manager.load("tiny", SMALL.model_copy(update={"rpc_workers": ("127.0.0.1:2",)}))
        await manager.load("tiny", options)
        assert any("tiny is spread over other machines" in one for one in told)
