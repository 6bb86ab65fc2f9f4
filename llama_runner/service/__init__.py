"""The serving side as a process: runtime and control API together, ending without a trace."""
