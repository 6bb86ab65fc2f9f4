"""What this machine is doing: samplers, one sampling thread, ring buffers. Knows no model server."""
