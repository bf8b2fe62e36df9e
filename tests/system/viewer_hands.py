"""What hands do in the viewer."""

from __future__ import annotations

from tests.browser import Visit

PANE = "[data-cy=viewport-pane]"
# The notice that this is no product for diagnosis; people confirm it once a month.
CONFIRMED = (
    "globalThis.localStorage?.setItem('investigationalUseDialog', "
    "JSON.stringify({ expiryDate: '2999-01-01T00:00:00Z' }))"
)


def measure(seen: Visit) -> str:
    """Draw a length in the first viewport and track it; what it says."""
    seen.page.locator("[data-cy=Length-btn]").first.click()
    box = seen.page.locator(PANE).first.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    seen.page.mouse.move(*middle)
    seen.page.mouse.down()
    seen.page.mouse.move(middle[0] + 150, middle[1] + 100, steps=10)
    seen.page.mouse.up()
    seen.page.locator("[data-cy=prompt-begin-tracking-yes-btn]").click()
    seen.page.locator("[data-cy=trackedMeasurements-btn]").click()
    length = seen.page.locator("[data-cy=data-row-details-primary]").first.inner_text()
    assert length.endswith(" mm")
    return length


def save(seen: Visit, name: str) -> None:
    """What was measured, as a report of that name."""
    seen.page.get_by_text("Create SR").click()
    seen.page.get_by_placeholder("Report name").fill(name)
    seen.page.get_by_role("button", name="Save").click()
