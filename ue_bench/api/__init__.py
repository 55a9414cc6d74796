"""The front door for Python: ``ue_bench.protect``, ``run`` and ``load``. The command line comes in by it, too."""
