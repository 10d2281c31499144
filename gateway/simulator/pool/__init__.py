"""The pool simulator: replays a trace of jobs on a pool of GPUs under a placement policy, in virtual time.

It answers "how long would they have waited, and how many GPUs do I need" with the very scheduler that production runs.
"""
