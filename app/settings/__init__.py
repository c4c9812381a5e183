"""The environment and the files that it names. They are parsed once; files that may change are read again."""
