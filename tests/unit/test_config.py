"""Settings come from where they should, say so, and keep secrets."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.config import Settings, knobs, load_settings, shown
from scheduler.errors import ConfigurationError

SECRET = "postgresql://me:hunter2hunter2@db/x"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(tmp_path: Path) -> None:
    (tmp_path / "scheduler.toml").write_text('slots = 3\npool = "file"\ntenant = "file"\n')
    environ = {"SCHEDULER_SLOTS": "4", "SCHEDULER_POOL": "environment"}

    loaded = load_settings({"slots": 5}, environ)

    settings = loaded.settings
    assert (5, "environment", "file", "UTC") == (settings.slots, settings.pool, settings.tenant, settings.timezone)
    assert [loaded.origins[name] for name in ("slots", "pool", "tenant", "timezone")] == [
        "flag",
        "SCHEDULER_POOL",
        "scheduler.toml",
        "default",
    ]


def test_sections_are_nested_names_in_the_environment_and_tables_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('[tick]\ninterval = "2s"\n[defaults.catch_up]\npolicy = "all"\n')

    loaded = load_settings({}, {"SCHEDULER_TICK__BATCH_SIZE": "7"}, file=file)

    assert loaded.settings.tick.interval == timedelta(seconds=2)
    assert loaded.settings.tick.batch_size == 7
    assert loaded.settings.job_defaults()["catch_up"] == {"policy": "all", "window": "7d", "max": 100}
    assert loaded.origins["defaults.catch_up.policy"] == str(file)


@pytest.mark.parametrize(
    ("environ", "origin"),
    [
        ({"SCHEDULER_DATABASE_URL": SECRET, "DATABASE_URL": "postgresql://other"}, "SCHEDULER_DATABASE_URL"),
        ({"DATABASE_URL": SECRET}, "DATABASE_URL"),
        (
            {"SCHEDULER_DATABASE_URL_FILE": "secret", "DATABASE_URL": "postgresql://other"},
            "SCHEDULER_DATABASE_URL_FILE",
        ),
        ({"SCHEDULER_DATABASE_URL": "", "DATABASE_URL": SECRET}, "DATABASE_URL"),
    ],
)
def test_a_secret_may_come_bare_or_in_a_file(tmp_path: Path, environ: dict[str, str], origin: str) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")

    loaded = load_settings({}, environ)

    assert loaded.settings.database_url is not None
    assert loaded.settings.database_url.get_secret_value() == SECRET
    assert loaded.origins["database_url"] == origin


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    settings = load_settings({}, {"DATABASE_URL": SECRET, "AMQP_URL": SECRET.replace("postgresql", "amqp")}).settings

    texts = [repr(settings), str(settings), *(str(shown(settings, knob)) for knob in knobs())]

    assert not [text for text in texts if "hunter2" in text]


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"SCHEDULER_SLOTS": "many"}, "slots (from SCHEDULER_SLOTS): "),
        ({"SCHEDULER_LEASE": "10"}, "lease (from SCHEDULER_LEASE): "),
        ({"SCHEDULER_ALLOW_NETWORKS": "10.0.0.0/8,nonsense"}, "allow_networks (from SCHEDULER_ALLOW_NETWORKS): "),
        ({"SCHEDULER_TICK__BATCH_SIZE": "5001"}, "tick.batch_size (from SCHEDULER_TICK__BATCH_SIZE): "),
        ({"SCHEDULER_AMQP_URL_FILE": "nowhere"}, "SCHEDULER_AMQP_URL_FILE: "),
        ({"SCHEDULER_CONFIG": "nowhere.toml"}, "nowhere.toml: no such file"),
    ],
)
def test_an_impossible_setting_is_named_with_its_origin_in_one_line(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, environ)

    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_of_the_file_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "scheduler.toml").write_text('[tick]\nintervall = "1s"\n')

    with pytest.raises(ConfigurationError, match=r"unknown setting tick\.intervall; did you mean tick\.interval\?"):
        load_settings({}, {})


def test_a_misspelt_variable_is_warned_of_and_those_of_a_run_are_not() -> None:
    environ = {"SCHEDULER_SLOT": "1", "SCHEDULER_RUN_ID": "x", "SCHEDULER_RESULT": "x", "OTHER": "x"}

    warnings = load_settings({}, environ).warnings

    assert warnings == ("SCHEDULER_SLOT is no setting; did you mean SCHEDULER_SLOTS?",)


def test_a_file_with_secrets_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.toml"
    file.write_text('amqp_url = "amqp://me:hunter2hunter2@mq"\n')
    file.chmod(0o644)
    loud = load_settings({}, {}).warnings
    file.chmod(0o600)

    assert "chmod 600" in loud[0]
    assert load_settings({}, {}).warnings == ()


def test_the_data_directory_is_in_the_users_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "XDG_STATE_HOME", "/state")

    assert Settings().data_dir == Path("/state/scheduler")
    assert load_settings({"data_dir": "~/here"}, {}).settings.data_dir == Path("~/here").expanduser()


def test_every_setting_says_what_it_is() -> None:
    assert [knob.name for knob in knobs() if not knob.description] == []
