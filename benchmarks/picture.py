"""The picture of the service's page in the README: two models side by side, for a history of two titles.

    python benchmarks/picture.py

Serves the trained models of the data set in params.yaml on a free port, and opens the page in headless Chromium as a
person would. Takes Chromium from the system, and Playwright from the packages of `make test`.
"""

import argparse
import io
import shutil
import socket
import sys
from pathlib import Path

from command import ROOT
from load import Server
from PIL import Image

from hybridvae.errors import HybridVAEError
from hybridvae.files import atomic_path

PICTURE = ROOT / "docs/images/service-page.png"
TITLES = ["star wars", "fargo"]  # as they are typed: the first that is found is taken
COUNT = "5"  # recommendations of each model
WIDTH = 1200  # pixels
COLOURS = 24  # of the PNG: words look no better with more
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 60_000  # milliseconds


def main() -> None:
    """Serve, look, write."""
    parser = argparse.ArgumentParser(description="The picture of the service's page.")
    parser.add_argument("--output", type=Path, default=PICTURE, help="(default: docs/images/service-page.png)")
    parser.add_argument("titles", nargs="*", default=TITLES, help="words of each (default: star wars, fargo)")
    parser.add_argument("--compared", default="ease", help="the other model (default: %(default)s)")
    arguments = parser.parse_args()
    output: Path = arguments.output
    try:
        browser = find_browser()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        with Server([sys.executable, "-m", "hybridvae", "serve", "--port", str(port)], ROOT, port, "/health"):
            png = photograph(browser, f"http://127.0.0.1:{port}/", arguments.titles, arguments.compared)
        with atomic_path(output) as partial:
            smaller(png).save(partial, format="png", optimize=True)
    except HybridVAEError as error:
        sys.exit(f"picture: {error}")
    print(f"wrote {output}, {output.stat().st_size / 1000:.0f} kB")


def find_browser() -> str:
    """The path of Chromium.

    Raises:
        HybridVAEError: there is none.
    """
    for name in _BROWSERS:
        if path := shutil.which(name):
            return path
    raise HybridVAEError(
        f"there is no Chromium here ({', '.join(_BROWSERS)}): install it, as by `apt install chromium`."
    )


def photograph(browser: str, address: str, titles: list[str], compared: str) -> bytes:
    """The whole page as PNG, after the titles were typed and a second model was chosen.

    Args:
        browser: the path of Chromium.
        address: of the service.
        titles: words of each title of the history, the latest last.
        compared: the name of the second model.

    Raises:
        HybridVAEError: Playwright is missing, or the page did not show two lists.
    """
    try:
        from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415, for the sentence below
    except ModuleNotFoundError:
        raise HybridVAEError("Playwright is not here: `make test` installs it, or `pip install playwright`.") from None
    try:
        with sync_playwright() as playwright, playwright.chromium.launch(executable_path=browser) as chromium:
            page = chromium.new_page(viewport={"width": WIDTH, "height": 600}, color_scheme="light")
            page.set_default_timeout(_PATIENCE)
            page.goto(address)
            for number, words in enumerate(titles, 1):
                page.fill("#item-query", words)
                page.press("#item-query", "Enter")
                added, nothing = page.locator(f"#history li:nth-child({number})"), page.get_by_text("Nothing found.")
                added.or_(nothing).first.wait_for()
                if nothing.count():
                    raise HybridVAEError(f"the page found nothing for {words!r}: take another title.")
            page.select_option("#count", COUNT)
            page.select_option("#other", compared)
            for panel in ("first", "second"):
                page.locator(f"#{panel}[aria-busy=false] li").nth(int(COUNT) - 1).wait_for()
            page.evaluate("document.activeElement.blur()")
            return page.screenshot(full_page=True)
    except Error as error:
        raise HybridVAEError(f"the page did not show two lists: {str(error).splitlines()[0]}") from None


def smaller(png: bytes) -> Image.Image:
    """The picture with few colours, in a third of the bytes."""
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
