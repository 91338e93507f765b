"""tmon side by side with its peers: `make bench` and `make bench-large`.

Each peer is started on loopback, does the same work in turn, and is stopped.
The results go to docs/performance.{json,md,svg}.
"""
