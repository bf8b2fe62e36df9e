"""Processes that work on pixels. The server's side: ``pool.py``, the queue, and ``process.py``, the template that they are forked
from and the link to each. Theirs: ``__main__.py``, the template's program, ``jobs.py``, what a process does, and ``limits.py``,
what it gives up. Between them: ``notices.py``, and the messages of each kind of job.

What they do is a kind of job each: transcoding (``archive/transcoding``) and rendering (``rendering``).
"""
