"""The client side put together: what a window and a command share."""

from llama_runner.workspace.workspace import Workspace, open_workspace

__all__ = ["Workspace", "open_workspace"]
