"""The front door for Python: ``ue_bench.protect``, ``run`` and ``load``. The command line uses it, too."""
