"""xdplb: an L3-L7 load balancer whose packet core is an eBPF XDP program."""

__version__ = "0.1.0"
