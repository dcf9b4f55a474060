"""Define the settings of the prompt filters."""

from pydantic import Field, field_validator

from rsidiff_kedro.core.section import Section, Text
from rsidiff_kedro.prompts.characters import visible


class FilterSettings(Section):
    """Settings of the filters.

    Attributes:
        min_words: words, separated by blanks.
        min_letter_share: share of the characters that a reader sees, spaces aside, that are letters of any script or
            marks after one, in [0, 1].
        allow_markup: allow web addresses, tags such as <lora:x:1>, and switches such as --ar 16:9.
        max_tokens: None for as many as the text encoder reads, which is the limit anyway.
        blocked_words: whole words or phrases that no prompt may hold, in any case, parted by blanks or `_`, with or
            without characters that no reader sees (U+200B, U+FE0F) in them. In scripts without spaces, such as
            Chinese, they are found within a sentence, too.
        near_duplicate_threshold: Jaccard similarity of character trigrams, in (0, 1], from which two prompts count
            as the same; 1 drops only texts with the very same trigrams.
    """

    min_words: int = Field(default=2, ge=1)
    min_letter_share: float = Field(default=0.5, ge=0, le=1)
    allow_markup: bool = False
    max_tokens: int | None = Field(default=None, ge=1)
    blocked_words: tuple[Text, ...] = ()
    near_duplicate_threshold: float = Field(default=0.9, gt=0, le=1)

    @field_validator("blocked_words")
    @classmethod
    def _seen(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if not all(visible(word).strip() for word in words):
            raise ValueError(f"blocked_words holds a word of characters that no reader sees: {words!a}; remove it")
        return words
