"""Choosing a media type (PS3.18 8.7), with the Accept headers that clients send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dicomweb.accept import AS_STORED, MAX_RANGES, Chosen, NotAcceptable, Offer, negotiate
from protocols.dicomweb.media_type import parse_media_type

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
JSON = Offer("application/dicom+json")
DICOM = Offer("multipart/related", "application/dicom", frozenset({EXPLICIT}))
SINGLE = Offer("application/dicom", "", frozenset({EXPLICIT}))
OCTETS = Offer("multipart/related", "application/octet-stream", frozenset({EXPLICIT}))
ZIP = Offer("application/zip", "", frozenset({EXPLICIT}))
PNG, JPG = Offer("image/png"), Offer("image/jpeg")
BROWSER = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/jxl,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)


def test_nothing_asked_gives_our_first_as_it_is_stored() -> None:
    assert negotiate(None, None, (DICOM, SINGLE)) == Chosen(DICOM, AS_STORED)
    assert negotiate("  ", None, (JSON,)) == Chosen(JSON, "")


@pytest.mark.parametrize("anything", ["*/*", BROWSER, "text/html, */*; q=0.1"])
def test_anything_gives_our_first_as_it_is_stored(anything: str) -> None:
    assert negotiate(anything, None, (DICOM, SINGLE)) == Chosen(DICOM, AS_STORED)


def test_json_is_found_among_others() -> None:
    asked = "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*"
    assert negotiate(asked, None, (JSON,)) == Chosen(JSON, "")


@pytest.mark.parametrize(
    "asked",
    [
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1',
        'multipart/related;transfer-syntax="1.2.840.10008.1.2.1";type=application/dicom',
        'Multipart/Related ; Type = "Application/DICOM" ; Transfer-Syntax = "1.2.840.10008.1.2.1"',
        'multipart/related; type="application/dicom; transfer-syntax=1.2.840.10008.1.2.1"',
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1; q=0.5; boundary="a,;b"',
    ],
)
def test_parameters_in_any_order_quoted_or_bare(asked: str) -> None:
    assert negotiate(asked, None, (JSON, OCTETS, DICOM)) == Chosen(DICOM, EXPLICIT)


def test_what_the_viewer_asks_for_frames() -> None:
    for asked in (
        'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
    ):
        assert negotiate(asked, None, (SINGLE, OCTETS)) == Chosen(OCTETS, AS_STORED)


def test_a_media_type_without_a_syntax_leaves_it_to_the_default_of_the_standard() -> None:
    assert negotiate('multipart/related; type="application/dicom"', None, (DICOM,)) == Chosen(DICOM, "")


def test_a_syntax_that_cannot_be_given_is_passed_over() -> None:
    part = 'multipart/related; type="application/dicom"'
    asked = f"{part}; transfer-syntax={JPEG}, {part}; transfer-syntax={EXPLICIT}"
    assert negotiate(asked, None, (DICOM,)) == Chosen(DICOM, EXPLICIT)
    with pytest.raises(NotAcceptable):
        negotiate(f"{part}; transfer-syntax={JPEG}", None, (DICOM,))


def test_quality_goes_before_order_and_order_before_ours() -> None:
    assert negotiate("image/png;q=0.5, image/jpeg", None, (PNG, JPG)).offer == JPG
    assert negotiate("image/jpeg, image/png", None, (PNG, JPG)).offer == JPG
    assert negotiate("image/*", None, (PNG, JPG)).offer == PNG


def test_the_most_specific_range_decides_for_each_type() -> None:
    assert negotiate("image/*;q=0.9, image/png;q=0.1", None, (PNG, JPG)).offer == JPG
    assert negotiate("*/*, image/png;q=0", None, (PNG, JPG)).offer == JPG
    with pytest.raises(NotAcceptable):
        negotiate("image/png;q=0, */*", None, (PNG,))


def test_the_parameter_goes_before_the_header() -> None:
    assert negotiate("image/png", "image/jpeg", (PNG, JPG)).offer == JPG
    assert negotiate("*/*", "application/dicom json", (DICOM, JSON)).offer == JSON, "a plus sign in a query"


def test_a_parameter_that_cannot_be_met_leaves_the_choice_to_the_header() -> None:
    assert negotiate("image/png", "video/mp4", (PNG, JPG)).offer == PNG
    with pytest.raises(NotAcceptable):
        negotiate(None, "video/mp4", (PNG, JPG))


@pytest.mark.parametrize("nothing", ["text/plain", "image", "a b c", ",,,;;", '"', "application/dicom+xml"])
def test_nothing_acceptable_is_406(nothing: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        negotiate(nothing, None, (DICOM, JSON))
    assert refused.value.http_status == 406


def test_too_much_is_406() -> None:
    with pytest.raises(NotAcceptable):
        negotiate(", ".join(["image/png"] * (MAX_RANGES + 1)), None, (PNG,))
    with pytest.raises(NotAcceptable):
        negotiate("image/png, " * 4000, None, (PNG,))


@given(st.text(max_size=300))
def test_any_text_gives_a_choice_or_406(text: str) -> None:
    try:
        chosen = negotiate(text, text, (DICOM, JSON, ZIP))
    except NotAcceptable:
        return
    assert chosen.offer in (DICOM, JSON, ZIP)


@given(st.text('abc;=\\"/, *', max_size=60))
def test_any_text_is_a_media_type_or_none(text: str) -> None:
    media = parse_media_type(text)
    assert media is None or "/" in media.name
