"""The daemon's HTTP and JSON interface on a Unix socket: `server` in the daemon, `client` in the commands."""
