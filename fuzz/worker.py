"""One target in atheris, in a process of its own; libFuzzer ends it. Arguments: the target, and libFuzzer's own."""

import sys

import atheris

# Only what is fuzzed: what the properties are checked with would drown it.
INSTRUMENTED = ["app.core", "app.api", "app.local.caller_tokens", "app.cli.shape", "app.settings.values"]


def main() -> None:
    """Fuzz until libFuzzer has enough, or finds something."""
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from fuzz.targets import TARGETS  # noqa: PLC0415 - it is instrumented as it is imported
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
