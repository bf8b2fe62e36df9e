"""What of a request is written into the log."""

from __future__ import annotations

import pytest

from web.http.loggable import loggable

SECRET = "lnk_" + "x" * 43


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (f"/share/{SECRET}", "/share/…"),
        (f"/api/v1/share/{SECRET}/open", "/api/v1/share/…/open"),
        (f"//share//{SECRET}/more", "//share//…/more"),
        ("/share/", "/share/"),
        ("/api/v1/shares/7", "/api/v1/shares/7"),
        ("/dicom-web/studies/1.2.3", "/dicom-web/studies/1.2.3"),
        ("/" + "x" * 5000, "/" + "x" * 199),
    ],
)
def test_a_path_is_logged_without_the_secret_of_a_link(path: str, written: str) -> None:
    assert loggable(path) == written
