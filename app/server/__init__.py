"""The process that serves: sockets, connections, the HTTP protocol and signals."""
