"""``tools/dockerfile.py`` reads a Dockerfile and .dockerignore as Docker does."""

from pathlib import Path

import pytest

from tools.dockerfile import DockerfileError, DockerIgnore, Instruction, parse, stages


def only(text: str) -> Instruction:
    (instruction,) = parse(text)
    return instruction


def test_continuation_lines_are_joined_and_comments_between_them_are_none() -> None:
    text = "# head\nRUN one \\\n    # between\n\n    && two\nUSER 1:1\n"
    assert list(parse(text)) == [Instruction("RUN", "one && two", 2), Instruction("USER", "1:1", 6)]


def test_options_stand_before_the_arguments_and_nowhere_else() -> None:
    copy = only("COPY --from=build --link /a /b")
    assert (copy.flags, copy.arguments) == ({"from": "build", "link": ""}, "/a /b")
    install = only("RUN pip install --no-deps x")
    assert (install.flags, install.arguments) == ({}, "pip install --no-deps x")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('CMD ["serve", "a b"]', ["serve", "a b"]),
        ("CMD serve", None),
        ("CMD ['serve']", None),  # not JSON, so Docker passes it to a shell
        ("CMD [1]", None),
    ],
)
def test_a_json_list_of_words_is_the_form_without_a_shell(line: str, words: list[str] | None) -> None:
    assert only(line).exec_form == words


def test_stages_have_their_name_or_their_number() -> None:
    text = "ARG X=1\nFROM a AS first\nUSER 1\nFROM b\nUSER 2\nUSER 3\n"
    assert [(stage.base, stage.name, len(stage.instructions)) for stage in stages(text)] == [
        ("a", "first", 1),
        ("b", "1", 2),
    ]


def test_a_here_document_is_refused_and_not_misread() -> None:
    with pytest.raises(DockerfileError, match="line 2: a here-document"):
        list(parse("FROM a\nRUN <<END\nrm -rf /\nEND\n"))


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        ("*", "app/core/arn.py", True),
        ("*\n!app", "app/core/arn.py", False),
        ("*\n!app\n**/*.pyc", "app/core/arn.pyc", True),
        ("*\n!app\n**/__pycache__", "app/core/__pycache__/arn.cpython-313.pyc", True),
        ("*\n!app/core", "app/cli/main.py", True),
        ("*.md", "docs/index.md", False),  # a star does not match a slash
        ("**/*.md", "docs/how-to/index.md", True),
        ("**/*.md", "index.md", True),
        ("docs/**", "docs/how-to/index.md", True),
        ("/docs/", "docs/index.md", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a.c", "abc", False),
        ("[ab]c", "bc", True),
        ("# *\n\n", "app", False),
        ("!app\n*", "app", True),  # the last match decides
    ],
)
def test_the_last_pattern_that_fits_decides(patterns: str, path: str, ignored: bool) -> None:  # noqa: FBT001
    assert DockerIgnore(patterns).ignores(path) is ignored


def test_a_copy_of_a_folder_sees_the_files_that_are_sent(tmp_path: Path) -> None:
    for name in ("app/a.py", "app/__pycache__/a.pyc", "app/core/b.py", "secret"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    ignore = DockerIgnore("*\n!app\n**/__pycache__")
    assert ignore.sent(tmp_path, "app") == ["app/a.py", "app/core/b.py"]
    assert ignore.sent(tmp_path, "app/a.py") == ["app/a.py"]
    assert ignore.sent(tmp_path, "secret") == []
    assert ignore.sent(tmp_path, "missing") == []
