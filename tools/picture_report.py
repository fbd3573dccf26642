"""Takes the pictures of a report for docs/index.md: `python tools/picture_report.py [REPORT]`, light and dark.

They are of the demo's report: `prospect demo` writes runs/demo-kto/report.html in a few minutes. Debian's Chromium
draws them: `apt-get install chromium`.
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import sync_playwright

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
# Width and height of the section with the result: figures, and, where there is room, the first reply before and after.
SIZES = {"": (1100, 670), "-narrow": (430, 760)}


def main() -> int:
    """Write docs/figures/report-light.webp, report-dark.webp and the narrow ones."""
    parser = argparse.ArgumentParser(description="Take pictures of a report for the documentation.")
    parser.add_argument("report", type=Path, nargs="?", default=Path("runs/demo-kto/report.html"))
    report = parser.parse_args().report.resolve(strict=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for scheme, (suffix, (width, height)) in itertools.product(SCHEMES, SIZES.items()):
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5
            )
            page.goto(report.as_uri())
            page.get_by_role("heading", name="Result", exact=True).evaluate("heading => heading.scrollIntoView()")
            page.mouse.wheel(0, -30)
            page.wait_for_timeout(300)
            picture = Image.open(io.BytesIO(page.screenshot()))
            picture.save(FIGURES / f"report-{scheme}{suffix}.webp", quality=80, method=6)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
