"""Where every script says what: a document alone where it succeeds, and nothing but an error where it cannot begin.

Source: message-fragments, "Streams".
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from opsd.batch.__main__ import COMMANDS
from tests.docs.prose import ROOT
from tests.doubles.sprites import TOKEN, SpriteProcess
from tests.runbook.scripts import script
from tests.runbook.site import LOOP, Site, beating

pytestmark = pytest.mark.slow
SERVES = "sprite-service"
WRITES_FIRST = ("reconcile", "control")
"""What leaves behind what the others read."""
CALLS: Mapping[str, Sequence[str]] = {
    "reconcile": (),
    "control": ("--intent", "cancel", "--no-confirm"),
    "loop-run-snapshot": (),
    "poll-events": ("--max-events", "1"),
    "project-state": (),
    "health": (),
    "confirm-intent": ("--intent", "cancel", "--timeout-seconds", "5"),
    "status": (),
    "telemetry-summary": (),
    "threshold-profile": (),
    "profile-drift": ("--applied-profile", "balanced"),
}
WITHOUT_A_LOOP = ("health", "threshold-profile")
NO_PRETTY = ("control", "service-client", SERVES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with beating(tmp_path_factory.mktemp("s")) as site:
        for name in WRITES_FIRST:
            assert script(name, *_words(site, name)).code == 0
        yield site


def _words(site: Site, name: str) -> Sequence[str]:
    place = () if name in WITHOUT_A_LOOP else ("--repo", str(site.repo), "--loop", LOOP)
    return (*place, *CALLS[name])


@pytest.mark.parametrize("name", CALLS)
def test_success_is_one_document_and_nothing_else(site: Site, name: str) -> None:
    told = script(name, *_words(site, name))

    assert told.code == 0, told.text
    assert told.text.count("\n") == 1
    assert isinstance(told.document, dict)


@pytest.mark.parametrize("name", [name for name in CALLS if name not in NO_PRETTY])
def test_pretty_is_the_same_indented(site: Site, name: str) -> None:
    told = script(name, *_words(site, name), "--pretty")

    assert told.text.startswith('{\n  "') or (name == "poll-events" and told.text == "")


def test_the_client_prints_what_the_service_says(short_path: Path) -> None:
    repo = short_path / "repo"
    repo.mkdir()
    with SpriteProcess(repo) as sprite:
        words = ("--method", "GET", "--base-url", f"http://127.0.0.1:{sprite.port}", "--path", "/healthz")
        assert script("service-client", *words, "--token", TOKEN).document == {"ok": True}

        refused = script("service-client", *words, "--token", "another")

    assert refused.code == 1
    assert f"service request failed: GET http://127.0.0.1:{sprite.port}/healthz -> 401" in refused.text
    assert "another" not in refused.text


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_flag_is_an_error_on_its_own_stream(name: str) -> None:
    done = subprocess.run(
        [f"{ROOT}/scripts/ops-manager-{name}.sh", "--no-such-flag", "x"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"usage: ops-manager {name} ")
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_told(name: str) -> None:
    told = script(name, "--help")

    assert told.code == 0
    assert told.text.startswith(f"usage: ops-manager {name} ")


@pytest.mark.parametrize("name", [name for name in CALLS if name not in WITHOUT_A_LOOP])
@pytest.mark.parametrize("loop_id", ["../../x", ""])
def test_a_loop_that_cannot_be_one_is_an_error(site: Site, name: str, loop_id: str, tmp_path: Path) -> None:
    told = script(name, "--repo", str(tmp_path), "--loop", loop_id, *CALLS[name])

    assert told.code == 1
    assert told.text.splitlines()[-1].startswith("error: --loop ")
    assert list(tmp_path.iterdir()) == []


def test_every_command_is_called_here() -> None:
    assert {*CALLS, "service-client", SERVES} == set(COMMANDS)
