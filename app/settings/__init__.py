"""The environment and the files that it names, parsed once, and read again where they may change."""
