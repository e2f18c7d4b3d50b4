"""What crosses the API about the statistics of a data set's text. Every figure says how it is defined."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mistudio.jobs import JobOut


class StatisticsParams(BaseModel):
    """Parameters of the job `datasets.statistics`."""

    dataset_id: str = Field(description="The data set.")


class FigureInfo(BaseModel):
    """What a figure means."""

    title: str
    unit: str = Field(description="Unit; empty for a plain count or share.")
    definition: str = Field(description="How it is counted, in a sentence or two.")
    exact: bool = Field(description="Whether every row was counted; else the definition states the error.")


class LengthsOut(BaseModel):
    """How long the rows are, in one unit. Every row counts; percentiles are values that occur (nearest rank)."""

    total: int = Field(description="Over all rows.")
    mean: float
    deviation: float = Field(description="Standard deviation over the rows.")
    minimum: int
    maximum: int
    percentiles: dict[str, int] = Field(
        description="The smallest length that at least this share of the rows (in per cent) does not exceed.",
        examples=[{"50": 120, "95": 900}],
    )
    edges: list[int] = Field(description="Edges of the histogram's bins, each bin without its upper edge.")
    counts: list[int] = Field(description="Rows in each bin.")
    logarithmic: bool = Field(description="Whether the bins widen with the length.")


class RepeatedTextOut(BaseModel):
    """A text that several rows hold."""

    first_row: int = Field(description="The first row that holds it.")
    count: int = Field(description="How many rows hold it.")
    text: str = Field(description="Its beginning.")


class DuplicatesOut(BaseModel):
    """Rows that hold exactly the same text as an earlier row."""

    rows: int = Field(description="Rows that repeat an earlier one, those without text not counted.")
    texts: int = Field(description="Different texts among the rows that have one.")
    most_repeated: list[RepeatedTextOut]


class SimilarRowsOut(BaseModel):
    """Two rows that say nearly the same."""

    row: int
    earlier_row: int
    similarity: float = Field(description="Jaccard similarity of their 5-word shingles, 0 to 1.")
    text: str = Field(description="The beginning of the row.")


class NearDuplicatesOut(BaseModel):
    """Rows that say nearly the same as an earlier row, but not exactly."""

    rows: int = Field(description="How many; an estimate where `compared` is below `candidates`.")
    standard_error: float = Field(description="Of `rows`, in rows; 0 where all candidates were compared.")
    threshold: float = Field(description="Least Jaccard similarity of two near duplicates.")
    considered: int = Field(description="Rows among which they were sought.")
    candidates: int = Field(description="Rows whose signature met an earlier row's.")
    compared: int = Field(description="Candidates that were compared word for word.")
    examples: list[SimilarRowsOut]


class ShareOut(BaseModel):
    """One kind among others."""

    name: str
    count: int
    share: float = Field(description="0 to 1.")


class LanguagesOut(BaseModel):
    """Languages of a random sample of rows."""

    sampled: int = Field(description="Rows that were looked at.")
    shares: list[ShareOut] = Field(
        description="ISO 639-1 code, most frequent first; `short` has too few letters, `uncertain` no clear winner."
    )
    standard_error: float = Field(description="Largest standard error of a share, from the sampling.")


class CharacterOut(BaseModel):
    """One character."""

    character: str
    name: str = Field(description="Its Unicode name.")
    count: int


class CharactersOut(BaseModel):
    """What the text is made of."""

    classes: list[ShareOut] = Field(description="By Unicode general category, as shares of all characters.")
    scripts: list[ShareOut] = Field(description="Letters by script, as shares of all letters.")
    distinct: int = Field(description="Different characters.")
    most_frequent: list[CharacterOut]
    suspect: list[CharacterOut] = Field(
        description="Characters that clean text rarely holds: control characters, U+FFFD, private use, invisible ones."
    )


class StatisticsOut(BaseModel):
    """Statistics of the text of a data set."""

    version: int = 1
    text_column: str
    text_key: str = Field(description="The text column, and which composition of it the figures are of.")
    rows: int
    missing: int = Field(description="Rows whose text is null.")
    empty: int = Field(description="Rows whose text has no character; null counts too.")
    blank: int = Field(description="Rows with nothing but white space, empty ones included.")
    bytes: int = Field(description="UTF-8 bytes of the text.")
    characters: LengthsOut
    words: LengthsOut
    duplicates: DuplicatesOut
    near_duplicates: NearDuplicatesOut
    languages: LanguagesOut
    character_classes: CharactersOut
    seconds: float = Field(description="What the computation took.")
    computed_at: datetime


class DatasetStatisticsOut(BaseModel):
    """The statistics of a data set, what each figure means, and the job that makes them."""

    model_config = ConfigDict(from_attributes=True)

    statistics: StatisticsOut | None = Field(description="Null until they are computed.")
    stale: bool = Field(description="Computed for another column than the present text column.")
    definitions: dict[str, FigureInfo]
    job: JobOut | None


def info(title: str, unit: str, definition: str, *, exact: bool = True) -> FigureInfo:
    """A figure's definition."""
    return FigureInfo(title=title, unit=unit, definition=definition, exact=exact)


DEFINITIONS: dict[str, FigureInfo] = {
    "rows": info("Rows", "rows", "All rows of the data set."),
    "empty": info("Empty rows", "rows", "Rows whose text is null or has no character."),
    "blank": info("Blank rows", "rows", "Rows with nothing but white space; empty rows are among them."),
    "missing": info("Missing texts", "rows", "Rows whose text is null; they count as empty."),
    "bytes": info("Bytes", "bytes", "The text in UTF-8, without separators between rows."),
    "characters": info("Characters", "characters", "Unicode code points."),
    "words": info(
        "Words",
        "words",
        "Runs of characters between white space of any script, as Python's str.split() cuts.",
    ),
    "duplicates": info(
        "Exact duplicates",
        "rows",
        "Rows whose text is that of an earlier row, byte for byte, compared by 64-bit XXH3 hashes: among a hundred "
        "million texts the chance that any two differing ones are taken for equal is below 0.1%. Rows without text "
        "are not counted.",
    ),
    "near_duplicates": info(
        "Near duplicates",
        "rows",
        "Rows whose 5-word shingles (lower case) have a Jaccard similarity of at least 0.8 with an earlier row, exact "
        "duplicates not counted. Candidates are found by MinHash (128 one-permutation bins, 16 bands of 8), which "
        "finds about 95% of pairs of long rows at 0.8 and 99.9% at 0.9, and compared by the shingles themselves. Of "
        "over 20 000 candidates a random part is compared.",
        exact=False,
    ),
    "languages": info(
        "Languages",
        "rows",
        "The most likely of 140 languages for the first 300 characters of up to 5 000 random rows (py3langid, naive "
        "Bayes over byte n-grams). Under 20 letters: short; under 50% certain: uncertain.",
        exact=False,
    ),
    "character_classes": info(
        "Character classes",
        "characters",
        "Unicode general categories of all characters; tab and line ends are white space.",
    ),
    "scripts": info(
        "Scripts",
        "letters",
        "Letters by script, which is the first word of the letter's Unicode name (CJK: Han).",
    ),
}


def definitions_of(statistics: StatisticsOut | None) -> dict[str, FigureInfo]:
    """The definitions, near duplicates marked exact in counting where all candidates were compared."""
    if statistics is None:
        return DEFINITIONS
    changes: dict[str, Any] = {}
    if statistics.languages.sampled == statistics.rows:
        changes["languages"] = DEFINITIONS["languages"].model_copy(update={"exact": True})
    return DEFINITIONS | changes
