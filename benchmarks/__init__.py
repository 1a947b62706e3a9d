"""Side-by-side measurements anyone can run: `python -m benchmarks --help`. No test times anything."""
