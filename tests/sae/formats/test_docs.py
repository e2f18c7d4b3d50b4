"""docs/formats.md says what the code says."""

from pathlib import Path

from mistudio.sae.format_info import FORMATS

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"


def test_the_table_has_every_format_as_the_code_describes_it() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:4] for row in rows] == [
        [f"`{name}`", info.title, info.files, info.cannot_hold] for name, info in FORMATS.items()
    ]
