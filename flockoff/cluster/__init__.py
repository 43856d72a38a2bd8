"""Workers on the nodes of a Ray cluster: the only importer of ray.

The validator's own process, which holds hotkey and token, never talks to the cluster. In place of each worker
it starts a ``bridge``, which has a worker's scrubbed environment and relays messages between evaluator and
worker.
"""
