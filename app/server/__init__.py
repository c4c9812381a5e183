"""The server process: sockets, connections, the HTTP protocol and signals."""
