"""Nothing breaks: flows through every change of a balancer, counted. `python -m tools.consistency`."""
