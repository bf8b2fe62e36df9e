"""Load generators and benchmarks. Nothing of the server is imported: only the standard is shared."""
