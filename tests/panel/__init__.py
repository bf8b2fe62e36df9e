"""The panel in Chromium, on a real server."""
