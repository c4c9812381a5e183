"""Resources of this machine: addresses, files with secrets and certificates, Unix sockets and time."""
