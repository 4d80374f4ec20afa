"""A simulated Superloop runtime and fleets of it, for the demo, the tests and the benchmarks. The daemon never needs it."""
