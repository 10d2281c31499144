"""The launcher: the process that owns the gateway's other processes."""
