"""The kernel side of a balancer, and a working stand-in for it: load, pin, read, write."""
