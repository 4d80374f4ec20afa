"""A launch that makes no sense is refused with what is wrong, and nothing is begun."""

import json
from pathlib import Path

import pytest

from opsd.__main__ import launch_parser
from opsd.sprite.plan import REFUSED, Plan, Refused, plan_of
from tests.doubles.process import finished

COMMAND = "/opt/superloop/superloop.sh"


@pytest.fixture
def repo(tmp_path: Path) -> str:
    """A checkout with the loop `docs` that has run, and `fresh` that never has."""
    (tmp_path / ".superloop" / "loops" / "docs").mkdir(parents=True)
    (tmp_path / ".superloop" / "config.json").write_text(json.dumps({"loops": [{"id": "docs"}, {"id": "fresh"}]}))
    return str(tmp_path)


def plan(*words: str) -> Plan:
    return plan_of(launch_parser().parse_args(words))


def test_what_is_asked_for_comes_out_as_it_was_said(repo: str) -> None:
    argv = (COMMAND, "run", "--repo", repo, "--loop", "docs", "--fast")

    said = plan("--repo", repo, "--loop", "docs", "--launch-id", "in-1", "--log", "run.log", "--detach", "--", *argv)

    assert said.argv == argv
    assert (said.repo, said.loop_id, said.launch_id, said.detach) == (repo, "docs", "in-1", True)
    assert said.log == str(Path.cwd() / "run.log")
    assert said.interval_s == 15.0
    assert said.folder == f"{repo}/.superloop/loops/docs"


def test_a_loop_that_never_ran_is_known_by_the_configuration(repo: str) -> None:
    assert plan("--repo", repo, "--loop", "fresh", "--", COMMAND, "run", "--loop", "fresh").loop_id == "fresh"


def test_words_of_the_run_are_read_where_it_will_stand(repo: str) -> None:
    assert plan("--repo", repo, "--loop", "docs", "--", COMMAND, "run", "--repo", ".").repo == repo


@pytest.mark.parametrize(
    ("flags", "run", "says"),
    [
        (("--repo", "{repo}/gone", "--loop", "docs"), ("run",), "is no checkout of a loop"),
        (("--repo", "{repo}", "--loop", "other"), ("run",), "has no loop 'other'"),
        (("--repo", "{repo}", "--loop", ".."), ("run",), "has no loop '..'"),
        (("--repo", "{repo}", "--loop", "../loops/docs"), ("run",), "has no loop"),
        (("--repo", "{repo}", "--loop", ""), ("run",), "has no loop ''"),
        (("--repo", "{repo}", "--loop", "docs"), ("cancel", "--repo", "{repo}"), "must read `superloop.sh run ...`"),
        (("--repo", "{repo}", "--loop", "docs"), (), "must read `superloop.sh run ...`"),
        (("--repo", "{repo}", "--loop", "docs"), ("run", "--loop", "fresh"), "beats would tell of another loop"),
        (("--repo", "{repo}", "--loop", "docs"), ("run", "--repo", "/srv/x"), "beats would tell of another loop"),
        (("--repo", "{repo}", "--loop", "docs", "--detach"), ("run",), "--detach needs --log"),
    ],
)
def test_what_makes_no_sense_is_refused(repo: str, flags: tuple[str, ...], run: tuple[str, ...], says: str) -> None:
    words = [word.format(repo=repo) for word in (*flags, "--", COMMAND, *run)]

    with pytest.raises(Refused) as refused:
        plan(*words)

    assert says in str(refused.value)
    assert refused.value.code == REFUSED


def test_another_program_is_no_run(repo: str) -> None:
    with pytest.raises(Refused, match=r"/bin/sh run"):
        plan("--repo", repo, "--loop", "docs", "--", "/bin/sh", "run")


@pytest.mark.parametrize(
    "config", ["", "[]", "{}", '{"loops": {}}', '{"loops": [1]}', '{"loops": [{}]}', "[" * 100_000]
)
def test_a_configuration_that_makes_no_sense_names_no_loop(repo: str, config: str) -> None:
    Path(repo, ".superloop", "config.json").write_text(config)

    with pytest.raises(Refused, match="has no loop"):
        plan("--repo", repo, "--loop", "fresh", "--", COMMAND, "run")


def test_the_message_and_the_code_reach_who_asked(repo: str) -> None:
    code, out, err = finished("launch", "--repo", repo, "--loop", "other", "--", COMMAND, "run")

    assert (code, out) == (REFUSED, "")
    assert err == (
        f"opsd launch: {repo} has no loop 'other': neither a folder nor a line in its config.json; mend --loop\n"
    )


def test_a_log_that_cannot_be_opened_is_refused_before_anything_is_begun(repo: str, tmp_path: Path) -> None:
    log = tmp_path / "no" / "such" / "folder.log"

    code, _, err = finished(
        "launch", "--repo", repo, "--loop", "docs", "--log", str(log), "--", COMMAND, "run", "--loop", "docs"
    )

    assert code == REFUSED
    assert f"the log {log} cannot be opened: No such file or directory" in err


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "soon", "3601"])
def test_an_interval_must_be_a_time(repo: str, interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plan("--repo", repo, "--loop", "docs", "--interval", interval, "--", COMMAND, "run")

    assert "--interval" in capsys.readouterr().err
