"""The table of commands. Modules are imported only when their command runs, so that starting stays quick."""

from typing import Final

_HERE: Final = "llama_runner.cli.commands"

# Name, "module:Class", help. The order is that of `--help`.
COMMANDS: Final[tuple[tuple[str, str, str], ...]] = (
    ("query", f"{_HERE}.query:QueryCommand", "ask one question and print the answer"),
    ("history", f"{_HERE}.history:HistoryCommand", "kept conversations: list, search, show, export, import"),
    ("discover", f"{_HERE}.discover:DiscoverCommand", "find model servers"),
    ("servers", f"{_HERE}.servers:ServersCommand", "list, add, remove and check known servers"),
    ("arena", f"{_HERE}.arena:ArenaCommand", "compare models side by side"),
    ("stress", f"{_HERE}.stress:StressCommand", "load a server and measure it"),
    ("monitor", f"{_HERE}.monitor:MonitorCommand", "live figures of this machine"),
    ("serve", f"{_HERE}.serve:ServeCommand", "run the service without a window"),
    (
        "access-token",
        f"{_HERE}.access_token:AccessTokenCommand",
        "the token that lets programs of other machines in",
    ),
    ("ps", f"{_HERE}.ps:PsCommand", "running model instances"),
    (
        "requests",
        "llama_runner.cli.commands.requests:RequestsCommand",
        "the newest requests through the proxy",
    ),
    ("routes", f"{_HERE}.routes:RoutesCommand", "names that lead to models here or elsewhere"),
    ("load", f"{_HERE}.load:LoadCommand", "load a model"),
    ("unload", f"{_HERE}.unload:UnloadCommand", "unload a model"),
    ("models", f"{_HERE}.models:ModelsCommand", "model files that were found, or a server's models"),
    ("embed", f"{_HERE}.embed:EmbedCommand", "texts as vectors"),
    ("tokens", f"{_HERE}.tokens:TokensCommand", "count the tokens of a text"),
    ("logs", f"{_HERE}.logs:LogsCommand", "log lines of the program or of an instance"),
    ("profiles", f"{_HERE}.profiles:ProfilesCommand", "a model's named ways to be loaded"),
    ("engines", f"{_HERE}.engines:EnginesCommand", "the llama-servers to choose from"),
    ("config", f"{_HERE}.config:ConfigCommand", "show, read, change and check settings"),
    ("doctor", f"{_HERE}.doctor:DoctorCommand", "what is here, what is wrong and how to mend it"),
)
