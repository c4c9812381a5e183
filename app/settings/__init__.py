"""The environment variables, and the files that they name. The service parses each once, and reads changed files again."""
