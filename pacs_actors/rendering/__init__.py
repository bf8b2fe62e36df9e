"""Pictures of stored objects, as PS3.3 and PS3.18 say that they look.

``renderer.py`` is for the server: it hands jobs to the pixel processes. ``messages.py`` is what it says to them, ``render.py``
one job. The rules are pure functions: ``grey.py``, ``lookup.py``, ``colour.py``, ``planes.py`` (overlays, shutters),
``geometry.py``.
"""
