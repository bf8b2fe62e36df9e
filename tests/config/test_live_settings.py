"""Settings that may change while the server runs."""

from __future__ import annotations

import pytest

from config.keys import SECRETS, keys
from config.live import LIVE, checked, value_of, with_overrides
from config.settings import Settings
from protocols.errors import ConfigError


def test_those_that_may_change_are_settings_and_no_secrets() -> None:
    assert set(keys()) >= LIVE
    assert not LIVE & SECRETS


def test_a_change_is_put_in_and_nothing_else_is_touched() -> None:
    made = with_overrides(Settings(), {"dicom.max_associations": 7, "server.log_level": "debug"})
    assert value_of(made, "dicom.max_associations") == 7
    differing = {path for path in keys() if value_of(made, path) != value_of(Settings(), path)}
    assert differing == {"dicom.max_associations", "server.log_level"}
    assert with_overrides(Settings(), {}) == Settings()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("server.data", "elsewhere"), ("nodes", []), ("nothing.at_all", 1), ("", 1), ("dicom.max_associations", 0),
        ("dicom.max_associations", True), ("dicom.max_associations", "7"), ("dicom.artim_s", float("inf")),
        ("dicom.artim_s", 31), ("server.log_level", "loud"), ("dicom.max_associations", None),
    ],
)  # fmt: skip
def test_what_a_file_could_not_say_cannot_be_changed_to(path: str, value: object) -> None:
    with pytest.raises(ConfigError):
        checked(path, value)
    with pytest.raises(ConfigError):
        with_overrides(Settings(), {path: value})
