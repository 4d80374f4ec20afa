import os
from pathlib import Path

import pytest

from opsd import settings
from opsd.settings import SettingsError


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OPSD_")]:
        monkeypatch.delenv(name)


def load(config: Path | None = None, /, **flags: object) -> settings.Loaded:
    return settings.load(flags, config=str(config) if config else None, environment=os.environ)


def problems(config: Path | None = None, /, **flags: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        load(config, **flags)
    return refused.value.problems


def test_a_home_is_all_that_must_be_given(tmp_path: Path) -> None:
    loaded = load(repo=str(tmp_path))

    assert loaded.settings.socket == f"{tmp_path}/.superloop/ops-manager/opsd.sock"
    assert loaded.settings.socket_mode == 0o660
    assert loaded.thresholds.profile == "balanced"


def test_flags_win_over_variables_and_those_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "opsd.toml"
    config.write_text(
        'pass_deadline_s = 11\ntelemetry_interval_s = 12\ncommit_interval_s = 1.3\nsocket_mode = "0600"\n'
    )
    monkeypatch.setenv("OPSD_TELEMETRY_INTERVAL_S", "22")
    monkeypatch.setenv("OPSD_COMMIT_INTERVAL_S", "2.3")

    found = load(config, repo=str(tmp_path), commit_interval_s="3.3").settings

    assert (found.pass_deadline_s, found.telemetry_interval_s, found.commit_interval_s) == (11, 22, 3.3)
    assert found.socket_mode == 0o600


def test_the_file_may_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "opsd.toml"
    config.write_text(f'repo = "{tmp_path}"\n')
    monkeypatch.setenv("OPSD_CONFIG", str(config))

    assert load().settings.repo == str(tmp_path)


def test_a_problem_names_setting_origin_value_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "opsd.toml"
    config.write_text('log_level = "loud"\n')
    monkeypatch.setenv("OPSD_PASS_DEADLINE_S", "soon")

    found = problems(config, repo=str(tmp_path / "missing"))

    assert len(found) == 3, "every problem is told at once"
    assert any("repo (flag --repo)" in each and "no such folder" in each for each in found)
    assert any("(variable OPSD_PASS_DEADLINE_S) is 'soon'" in each and "seconds, 1 to 600" in each for each in found)
    assert any(f"(file {config}) is 'loud'" in each and "debug, info, warning or error" in each for each in found)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"repo": None}, "setting repo is missing; give --repo or OPSD_REPO"),
        ({"socket_mode": "0668"}, "not an octal number"),
        ({"socket_mode": "0222"}, "0600 to 0777"),
        ({"socket_group": "no-such-group"}, "the system has no such group"),
        ({"commit_interval_s": "0"}, "seconds, 0.01 to 10"),
        ({"max_concurrent_passes": "1.5"}, "a whole number, 1 to 16"),
        ({"threshold_profile": "lax"}, "unknown threshold profile: lax"),
        ({"threshold_profile": "strict", "degraded_ingest_lag_seconds": "400"}, "critical_ingest_lag_seconds (300)"),
        ({"threshold_profiles_file": "/nowhere.json"}, "there is no such file"),
        ({"no_such_setting": "1"}, "does not exist; known are repo"),
    ],
)
def test_a_bad_value_is_refused_with_a_remedy(flags: dict[str, object], told: str, tmp_path: Path) -> None:
    (problem,) = problems(None, **{"repo": str(tmp_path), **flags})

    assert told in problem


def test_a_home_too_deep_for_a_socket_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """The kernel's own message would be about a path, and say nothing of what to do."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()

    (problem,) = problems(repo=str(deep))

    assert "the kernel takes 107" in problem
    assert "--socket-path" in problem


def test_a_config_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "opsd.toml"
    config.write_text("this is not\n")

    (problem,) = problems(config, repo=str(tmp_path))

    assert str(config) in problem
    assert "not TOML" in problem


def test_an_unknown_name_in_the_file_is_refused_and_in_the_environment_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is ours alone; a variable may be meant for somebody else who shares the prefix."""
    config = tmp_path / "opsd.toml"
    config.write_text("comit_interval_s = 1\n")
    (problem,) = problems(config, repo=str(tmp_path))
    assert f"comit_interval_s (file {config}) does not exist" in problem
    monkeypatch.setenv("OPSD_COMIT_INTERVAL_S", "1")

    assert load(repo=str(tmp_path)).unknown == ("OPSD_COMIT_INTERVAL_S",)


def test_overrides_are_combined_with_the_profile(tmp_path: Path) -> None:
    thresholds = load(
        repo=str(tmp_path),
        threshold_profile="strict",
        critical_ingest_lag_seconds="600",
        degraded_ingest_lag_seconds="400",
    ).thresholds

    assert (thresholds.profile, thresholds.degraded_ingest_lag_seconds, thresholds.critical_ingest_lag_seconds) == (
        "strict",
        400,
        600,
    )
    assert thresholds.critical_transport_failure_streak == 2


def test_a_reload_tells_what_takes_effect_and_what_needs_a_restart(tmp_path: Path) -> None:
    old = load(repo=str(tmp_path)).settings
    new = load(repo=str(tmp_path), watch="false", commit_interval_s="0.5", log_level="debug").settings

    assert settings.changed(old, new) == (("commit_interval_s", "log_level"), ("watch",))
