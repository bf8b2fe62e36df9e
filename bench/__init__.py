"""Load generators and benchmarks. Nothing of the server is imported: only the standard is shared.

The one exception is ``rows``, which fills the server's own tables.
"""
