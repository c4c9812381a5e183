"""Coverage-guided fuzzing of every parser: ``make fuzz``, or ``python -m fuzz [TARGET ...] [--seconds 60]``.

targets    the functions that are fuzzed, and the properties that they hold; no fuzzer is needed to call one
seeds      what a fuzzer starts from: the hostile corpus and the recordings of tests/
worker     one target in atheris, in a process of its own
__main__   runs the workers and prints a table
"""
