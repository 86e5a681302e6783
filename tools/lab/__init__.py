"""The testbed: a client, a router, a balancer and backends as network namespaces of this machine."""
