"""Tier stores: places for copies of objects, behind one small interface."""
