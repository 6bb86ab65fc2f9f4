"""The runtime's values as the control API's, and the API's wishes as the runtime's. Pure."""

from llama_runner.control.values import Instance, LoadOptions, ModelList, ServedModel
from llama_runner.runtime import argv
from llama_runner.runtime.catalogue import ModelCatalogue, ModelFile
from llama_runner.runtime.instance import InstanceSnapshot


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
    )


def launch_options(options: LoadOptions) -> argv.LoadOptions:
    """A load's options as the runtime takes them."""
    return argv.LoadOptions(
        context_length=options.context_length,
        gpu_layers=options.gpu_layers,
        threads=options.threads,
        parallel=options.parallel,
    )
