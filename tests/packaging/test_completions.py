"""What a shell offers, asked in that shell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from linux_packages import completions
from mcpnatsd import cli

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p mcpnatsd | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function mcpnatsd "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completions") / "mcpnatsd"
    path.write_text(completions.completion("bash"), encoding="utf-8")
    return path


def offered(script: Path, *words: str) -> set[str]:
    """Return what bash offers for the last of these words."""
    bash = shutil.which("bash")
    assert bash, "there is no bash here"
    done = subprocess.run(
        [bash, "--norc", "-c", COMPLETE, "bash", script, "mcpnatsd", *words],
        capture_output=True, text=True, check=True, cwd=script.parent,
    )  # fmt: skip
    assert done.stderr == ""
    return {word.strip() for word in done.stdout.splitlines()} - {""}


def test_nothing_is_offered_for_a_verb_that_is_none(script: Path) -> None:
    assert offered(script, "xyz") == set()


@pytest.mark.parametrize("verb", sorted(cli._VERBS))
def test_bash_completes_each_verb(script: Path, verb: str) -> None:
    assert verb in offered(script, "")
    assert verb in offered(script, verb[:-1])


def test_bash_completes_the_flags_of_a_verb(script: Path) -> None:
    assert {"--json", "--nats", "--creds"} <= offered(script, "list", "--")
    assert "--nats" not in offered(script, "run", "--")


def test_bash_completes_a_file_for_a_flag_that_takes_one(script: Path) -> None:
    assert offered(script, "run", "--config", script.name[:3]) == {script.name}


@pytest.mark.parametrize("shell", completions.SHELLS)
@pytest.mark.parametrize("verb", sorted(cli._VERBS))
def test_the_script_of_each_shell_knows_each_verb(shell: str, verb: str) -> None:
    assert verb in completions.completion(shell)
