"""The benchmarks: trio_folk beside its peers and beside the floors. Run ``python bench/run.py``."""
