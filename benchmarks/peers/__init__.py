"""nursery-tasks on Redis beside its peers. `../run_peers.py` runs all; `docs/benchmarks.md` says what is measured and shows it.

- `environments`: a virtual environment for each peer, in `.bench/peers/`, with its latest release
- `servers`: the servers of one measurement
- `sides`: the contenders; `programs/` are what runs in their environments
- `rounds`, `throughput`, `idle`, `crash`: what is measured of all
- `raw`, `steps`, `legs`, `growth`: what is measured of ours alone
- `tables`, `plots`: from the stored figures to the page

- `rabbit`: a RabbitMQ node, for the same on RabbitMQ

A peer with another broker needs a program, a row in `sides`, and a `Stage` that starts its server.
"""
