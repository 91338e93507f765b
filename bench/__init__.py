"""tmon side by side with its peers: `make bench` and `make bench-large`.

Each peer is started here on loopback, does the same work in turn, and is
stopped again. What it says goes to docs/performance.{json,md,svg}.
"""
