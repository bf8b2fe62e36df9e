"""How the viewer's files are made; nothing here runs in the server."""
