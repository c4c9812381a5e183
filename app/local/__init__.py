"""What this machine gives: addresses, files with secrets and certificates, Unix sockets and time."""
