"""``tools/image_replay.py`` runs the steps of a Dockerfile in a folder, and changes nothing outside of it."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import image_replay
from tools.dockerfile import DockerfileError, stages
from tools.image_replay import Clock, Image, Replay, StepsError, run

ROOT = Path(__file__).parents[2]
Play = Callable[[str], Image]

# Shells and installers of a slim Debian image, and other files with similar names.
REMOVED = [
    *("apt", "apt-get", "apt-key", "bash", "dash", "dpkg", "dpkg-deb", "dpkg-maintscript-helper"),
    *("perl", "perl5.40.1", "rbash", "sh"),
]
KEPT = ["bashbug", "cat", "chsh", "env", "find", "sha256sum", "shuf", "su"]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Replay a Dockerfile on an empty base. Copying this Python takes seconds, which ``make image-steps`` does."""
    context = tmp_path / "context"
    (context / "app/core").mkdir(parents=True)
    (context / "app/core/a.py").write_text("a = 1\n")
    (context / "app/left.pyc").touch()
    (context / "README.md").write_text("read\n")
    (context / "secret").touch()
    (context / ".dockerignore").write_text("*\n!app\n!README.md\n**/*.pyc\n")
    monkeypatch.setattr(image_replay, "lay_base", lambda image, _: (image.root / "usr/bin").mkdir(parents=True))

    def replay(text: str) -> Image:
        with contextlib.redirect_stdout(io.StringIO()):
            return Replay(context, tmp_path, Clock(30)).play(stages(text))

    return replay


def found(image: Image) -> set[str]:
    return {str(path.relative_to(image.root)) for path in image.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("rm -r /opt/a /usr/local/lib/python3.*/x", "rm -r /R/opt/a /R/usr/local/lib/python3.*/x"),
        (
            "find / -xdev -type f -perm /6000 -exec chmod a-s {} +",
            "find /R/ -xdev -type f -perm /6000 -exec chmod a-s {} +",
        ),
        ("a > /dev/null 2>/dev/null", "a > /dev/null 2>/dev/null"),
        ("a >/opt/x", "a >/R/opt/x"),
        ("--python=/opt/a --only-binary=:all:", "--python=/R/opt/a --only-binary=:all:"),
        ("/opt/a/bin:/usr/bin:/bin", "/R/opt/a/bin:/R/usr/bin:/R/bin"),
        ("'/opt/a b' \"/c\"", "'/R/opt/a b' \"/R/c\""),
        ("requirements/runtime.txt ./a ** .*/(sh|bash)", "requirements/runtime.txt ./a ** .*/(sh|bash)"),
    ],
)
def test_every_absolute_path_is_put_below_the_root(text: str, inside: str) -> None:
    assert Image(Path("/R")).inside(text) == inside


def test_a_copy_takes_what_is_sent_and_nothing_else(play: Play) -> None:
    image = play("FROM x\nWORKDIR /src\nCOPY README.md ./\nCOPY app/ app/\nCOPY README.md /other\n")
    assert found(image) == {"src/README.md", "src/app/core/a.py", "other"}


def test_a_copy_of_what_is_kept_back_fails_as_in_docker(play: Play) -> None:
    with pytest.raises(StepsError, match=r"secret is not there, or \.dockerignore keeps it back"):
        play("FROM x\nCOPY secret ./\n")


def test_variables_are_those_of_the_image_and_of_the_arguments(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN", "given")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    image = play(
        "FROM x\nARG GIVEN\nARG OTHER=default\nARG MISSING\n"
        'ENV A=/opt/a B="two words" \\\n    C=$A:${OTHER}\n'
        "RUN env > /seen && echo $A $B $C $GIVEN [$MISSING] > /said\n"
    )
    root = image.root
    # As in Docker, $A in the instruction that sets it has the earlier value.
    assert image.environment == {**Image(root).environment, "A": "/opt/a", "B": "two words", "C": ":default"}
    assert (root / "said").read_text() == f"{root}/opt/a two words :default given []\n"
    assert "canary" not in (root / "seen").read_text()


def test_a_stage_begins_empty_and_takes_what_it_copies(play: Play, tmp_path: Path) -> None:
    image = play(
        "FROM x AS build\nRUN mkdir -p /opt/a /wheels && ln -s b /opt/a/link && touch /opt/a/b /wheels/w\n"
        "FROM x\nCOPY --from=build /opt/a /opt/a\n"
    )
    assert found(image) == {"opt/a/b", "opt/a/link"}
    assert (image.root / "opt/a/link").is_symlink()
    assert [path.name for path in tmp_path.iterdir() if "stage" in path.name] == []


def test_what_docker_keeps_beside_the_files_is_kept(play: Play) -> None:
    image = play(
        'FROM x\nLABEL a=b\nUSER 7:8\nSTOPSIGNAL SIGINT\nENTRYPOINT ["a"]\nCMD ["b"]\n'
        'HEALTHCHECK --interval=1s --retries=2 CMD ["c", "d"]\n'
    )
    assert (image.user, image.stop_signal) == ("7:8", "SIGINT")
    assert (image.entrypoint, image.command, image.health) == (["a"], ["b"], ["c", "d"])


@pytest.mark.parametrize("line", ["ENTRYPOINT a", "CMD a", "HEALTHCHECK CMD a"])
def test_what_needs_a_shell_to_start_is_refused(play: Play, line: str) -> None:
    with pytest.raises(StepsError, match="needs a shell"):
        play(f"FROM x\n{line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "ADD a b",
        "VOLUME /data",
        "COPY --chown=1 README.md ./",
        "COPY --from=nowhere /a /a",
        "RUN --mount=type=cache,target=/x true",
        "RUN rm -r ../x",
        'RUN ["rm", "../x"]',
    ],
)
def test_what_is_not_understood_is_refused_and_not_left_out(play: Play, line: str) -> None:
    with pytest.raises(DockerfileError, match="line 2"):
        play(f"FROM x\n{line}\n")


def test_a_step_that_fails_is_told_with_what_it_printed(play: Play) -> None:
    with pytest.raises(StepsError, match=r"(?s)ended with 3:\nwhy"):
        play("FROM x\nRUN echo why && exit 3\n")


def test_a_step_that_hangs_is_ended_with_all_that_it_started() -> None:
    with pytest.raises(StepsError, match="time is up"):
        run(["/bin/sh", "-c", "sleep 60 & sleep 60"], {"PATH": os.defpath}, Path("/"), Clock(0.2))


# ---- this repository's Dockerfile -----------------------------------------------------------------------------------

FINAL = stages((ROOT / "Dockerfile").read_text("utf-8"))[-1].instructions
WITHOUT_SHELL = [each for each in FINAL if each.name == "RUN" and each.exec_form]


def test_the_shells_and_installers_go_and_nothing_else_does(play: Play) -> None:
    programs = " ".join(f"/usr/bin/{name}" for name in (*REMOVED, *KEPT))
    links = "ln -s usr/bin /bin && mkdir /usr/sbin && ln -s usr/sbin /sbin && touch /usr/sbin/dpkg-preconfigure"
    image = play(f"FROM x\nRUN touch {programs} && {links}\nRUN {WITHOUT_SHELL[0].value}\n")
    assert found(image) == {f"usr/bin/{name}" for name in KEPT}
    assert (image.root / "bin").is_symlink()


def test_the_shells_of_a_base_without_merged_folders_go_too(play: Play) -> None:
    touched = "mkdir /bin /sbin /usr/sbin && touch /bin/sh /bin/cat /usr/bin/perl /sbin/x"
    image = play(f"FROM x\nRUN {touched}\nRUN {WITHOUT_SHELL[0].value}\n")
    assert found(image) == {"bin/cat", "sbin/x"}


def test_the_last_step_starts_the_command_in_the_image_as_it_will_be() -> None:
    """So the build fails if anything needs the shell after all, and no later step can change that."""
    assert WITHOUT_SHELL[1:] == [FINAL[max(at for at, each in enumerate(FINAL) if each.name in {"RUN", "COPY"})]]
    assert WITHOUT_SHELL[1].exec_form == ["/opt/kuma-aws-iam/bin/kuma-aws-iam", "--version"]


def test_what_docker_is_told_of_the_image_is_understood(play: Play) -> None:
    """The other steps take seconds and the network: ``make image-steps``."""
    told = "\n".join(f"{each.name} {each.value}" for each in FINAL if each.name not in {"RUN", "COPY"})
    image = play(f"FROM x\n{told}\n")
    assert (image.entrypoint, image.command) == (["kuma-aws-iam"], ["serve"])
    assert (image.user, image.health) == ("65532:65532", ["kuma-aws-iam", "health"])
