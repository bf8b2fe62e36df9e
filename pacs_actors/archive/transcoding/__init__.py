"""Conversion of data sets between transfer syntaxes: what runs in the pixel processes.

``convert.py`` says what is done. Only ``messages.py`` and ``syntaxes.py`` are for the server
itself: the others import numpy and the decoders, or do work that must not run on a Trio loop.
"""
