"""``python -m app`` is ``kuma-aws-iam``."""

from app.cli import main

main(prog_name="kuma-aws-iam")
