"""How one accepted connection is served: its socket, TLS, HTTP/1.1 and HTTP/2."""
