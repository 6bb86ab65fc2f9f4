"""The runtime's values as the control API's, and the API's wishes as the runtime's. Pure."""

from llama_runner.control.values import (
    Instance,
    ModelList,
    Plan,
    PlannedModel,
    ProxiedRequest,
    ProxyFace,
    ServedModel,
    TriedStep,
)
from llama_runner.proxy.records import RequestRecord
from llama_runner.runtime.catalogue import ModelCatalogue, ModelFile
from llama_runner.runtime.instance import InstanceSnapshot
from llama_runner.runtime.memory import LoadPlan, Resident
from llama_runner.service.addresses import Listening


def face_view(listening: Listening) -> ProxyFace:
    """One dialect of the proxy."""
    return ProxyFace(listening.port, listening.url, listening.problem, listening.fixed)


def model_view(model: ModelFile) -> ServedModel:
    """One model file."""
    header = model.header
    return ServedModel(
        id=model.id,
        path=str(model.path),
        origin=model.origin,
        size_bytes=model.size_bytes,
        name=model.display_name or (header.name if header else None),
        architecture=header.architecture if header else None,
        quantization=header.quantization if header else None,
        context_length=header.context_length if header else None,
        problem=model.problem,
    )


def model_list_view(catalogue: ModelCatalogue) -> ModelList:
    """All model files, in their order."""
    return ModelList(tuple(map(model_view, catalogue.models)), catalogue.problems)


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
    )


def plan_view(plan: LoadPlan) -> Plan:
    """A plan."""
    return Plan(
        model=plan.model_id,
        need_bytes=plan.need.total_bytes,
        measured=plan.need.measured_bytes is not None,
        free_bytes=plan.room.free_bytes,
        load_s=plan.load_s,
        fits=plan.room.fits,
        loaded=plan.loaded,
        evict=tuple(map(_planned, plan.room.evict)),
        keep=tuple(map(_planned, plan.room.keep)),
    )


def _planned(one: Resident) -> PlannedModel:
    return PlannedModel(one.id, one.model_id, one.bytes, one.in_flight, one.idle_s, one.pinned)


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
