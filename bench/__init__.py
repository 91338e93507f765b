"""Compare tmon with its peers: `make bench` and `make bench-large`.

Each peer in turn is started on loopback, does the same work, and is stopped. The results are
written to docs/performance.{json,md,svg}.
"""
