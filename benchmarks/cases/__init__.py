"""The benchmarks themselves, one file each; every one gives figures, and counts that say what they rest on."""
