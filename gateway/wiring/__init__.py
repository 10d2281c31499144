"""The only place where adapters meet the flow: `serving` for a process that serves, `desk` for commands.

Nothing is imported here: a command must not pay for what only serving needs.
"""
