"""The program in the kernel against the oracle, on very many frames: `python -m tools.fuzz`."""
