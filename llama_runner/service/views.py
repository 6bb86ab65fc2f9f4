"""The runtime's values as the control API's, and the API's wishes as the runtime's. Pure."""

from pathlib import Path
from typing import Literal

from llama_runner.control.values import (
    Instance,
    ModelList,
    Plan,
    PlannedModel,
    PlanPart,
    ProxiedRequest,
    ProxyFace,
    ServedAdapter,
    ServedModel,
    TriedStep,
)
from llama_runner.core.text import visible_controls
from llama_runner.proxy.records import RequestRecord
from llama_runner.runtime.cards import fit
from llama_runner.runtime.catalogue import ModelCatalogue, ModelFile
from llama_runner.runtime.instance import InstanceSnapshot
from llama_runner.runtime.memory import LoadPlan, MemoryNeed, Resident
from llama_runner.runtime.pairing import Companion
from llama_runner.service.addresses import Listening


def face_view(listening: Listening) -> ProxyFace:
    """One dialect of the proxy."""
    return ProxyFace(
        listening.port,
        listening.url,
        listening.problem,
        listening.fixed,
        listening.needs_token,
        listening.open_to_others,
    )


def model_view(model: ModelFile, room_bytes: int | None = None) -> ServedModel:
    """One model, as its card shows it."""
    header, fits = model.header, fit(model, room_bytes)
    if header is None:
        return ServedModel(
            id=model.id,
            path=_text(model.path),
            origin=model.origin,
            size_bytes=model.size_bytes,
            name=model.display_name,
            problem=model.problem,
        )
    return ServedModel(
        id=model.id,
        path=_text(model.path),
        origin=model.origin,
        size_bytes=model.size_bytes,
        name=model.display_name or header.name,
        problem=model.problem,
        architecture=header.architecture,
        quantization=header.quantization,
        context_length=header.context_length,
        parameter_count=header.parameter_count,
        block_count=header.block_count,
        embedding_length=header.embedding_length,
        capabilities=header.capabilities,
        license=header.license,
        base_name=header.base_name,
        size_label=header.size_label,
        base_model=header.base_model,
        parts=header.split_count or 1,
        template_sha256=header.chat_template_sha256,
        template_changed=model.template_changed,
        projector=_text(model.projector.path) if model.projector else None,
        adapters=tuple(map(_adapter, model.adapters)),
        fit=fits.mark if fits else None,
        need_bytes=fits.need_bytes if fits else None,
        room_bytes=fits.room_bytes if fits else None,
        warnings=header.warnings,
    )


def _adapter(adapter: Companion) -> ServedAdapter:
    header = adapter.header
    return ServedAdapter(
        visible_controls(adapter.path.name), _text(adapter.path), header.file_size_bytes, header.base_model
    )


def _text(path: Path) -> str:
    """A path that can be sent: Linux allows names that are no text."""
    return str(path).encode("utf-8", errors="replace").decode()


def model_list_view(catalogue: ModelCatalogue) -> ModelList:
    """All models, in their order."""
    views = tuple(model_view(model, catalogue.room_bytes) for model in catalogue.models)
    return ModelList(views, catalogue.problems)


def instance_view(snapshot: InstanceSnapshot) -> Instance:
    """One instance."""
    started = snapshot.started_utc
    return Instance(
        id=snapshot.id,
        model=snapshot.model_id,
        state=snapshot.state.value,
        pid=snapshot.pid,
        port=snapshot.port,
        url=snapshot.url,
        progress=snapshot.progress,
        load_s=snapshot.load_s,
        error=snapshot.error,
        advice=snapshot.advice,
        started_utc=started.isoformat() if started else None,
        idle_s=snapshot.idle_s,
        in_flight=snapshot.in_flight,
        pinned=snapshot.pinned,
        ram_bytes=snapshot.ram_bytes,
        vram_bytes=snapshot.vram_bytes,
        unload_in_s=snapshot.unload_in_s,
        profile=snapshot.profile,
        engine=snapshot.engine,
        gpu_layers=snapshot.gpu_layers,
        note=snapshot.note,
    )


def plan_view(plan: LoadPlan) -> Plan:
    """A plan."""
    return Plan(
        model=plan.model_id,
        need_bytes=plan.need.total_bytes,
        measured=plan.need.measured_bytes is not None,
        free_bytes=plan.room.free_bytes + plan.room.free_vram_bytes,
        load_s=plan.load_s,
        fits=plan.room.fits,
        loaded=plan.loaded,
        evict=tuple(map(_planned, plan.room.evict)),
        keep=tuple(map(_planned, plan.room.keep)),
        need_ram_bytes=plan.need.ram_bytes,
        need_vram_bytes=plan.need.vram_bytes,
        free_ram_bytes=plan.room.free_bytes,
        free_vram_bytes=plan.room.free_vram_bytes,
        parts=_parts(plan.need),
        command=plan.command,
        engine=plan.engine,
        profile=plan.profile,
        gpu_layers=plan.gpu_layers,
        layers=plan.layers,
        warnings=plan.warnings,
    )


def _parts(need: MemoryNeed) -> tuple[PlanPart, ...]:
    def part(name: Literal["weights", "context", "work"], total_bytes: int, vram_bytes: int) -> PlanPart:
        return PlanPart(name, total_bytes - vram_bytes, vram_bytes)

    return (
        part("weights", need.weights_bytes, need.vram_weights_bytes),
        part("context", need.context_bytes, need.vram_context_bytes),
        part("work", need.work_bytes, need.vram_work_bytes),
    )


def _planned(one: Resident) -> PlannedModel:
    held = one.bytes + one.vram_bytes
    return PlannedModel(one.id, one.model_id, held, one.in_flight, one.idle_s, one.pinned, one.vram_bytes)


def request_view(record: RequestRecord) -> ProxiedRequest:
    """One request through the proxy."""
    return ProxiedRequest(
        number=record.number,
        path=record.path,
        model=record.model,
        started_utc=record.started_utc.isoformat(),
        streamed=record.streamed,
        status=record.status,
        outcome=record.outcome,
        queue_s=record.queue_s,
        load_s=record.load_s,
        upstream_s=record.upstream_s,
        first_byte_s=record.first_byte_s,
        own_s=record.own_s,
        total_s=record.total_s,
        bytes_sent=record.bytes_sent,
        error=record.error,
        step=record.step,
        tried=tuple(TriedStep(one.where, one.why) for one in record.tried),
        prefill_s=record.prefill_s,
        decode_s=record.decode_s,
        prompt_tokens=record.prompt_tokens,
        output_tokens=record.output_tokens,
        warning=record.warning,
    )
