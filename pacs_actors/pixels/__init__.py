"""Processes that work on pixels: ``pool.py`` is the server's side, ``__main__.py`` the program, ``limits.py`` what it gives up.

What they do is a kind of job each: transcoding (``archive/transcoding``) and rendering (``rendering``).
"""
