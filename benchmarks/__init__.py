"""Benchmarks anyone can run; every figure in the documentation comes from here."""
