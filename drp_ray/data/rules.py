"""The published thresholds, each a setting, and the names of the rules in the order in which they apply."""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, model_validator


class Rules(BaseModel):
    """Which reviews, items and users stay (docs/method.md, "Data"). Lengths count the characters of a text as written.

    `min_description_chars` 0 lets items without a description stay. `holdout` is how many of a user's last reviews
    are inputs: the oldest of them train, the next-to-last val, the last test; 1 is test only, 2 is val and test.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_review_chars: NonNegativeInt = 200
    min_description_chars: NonNegativeInt = 100
    max_description_chars: NonNegativeInt = 2000
    min_item_reviewers: NonNegativeInt = 8
    min_user_reviews: NonNegativeInt = 18
    max_user_reviews: PositiveInt = 500
    holdout: PositiveInt = 10
    min_profile_item_reviewers: NonNegativeInt = 5
    min_profile_reviews: NonNegativeInt = 8

    @model_validator(mode="after")
    def _in_order(self) -> "Rules":
        for low, high in (("min_description_chars", "max_description_chars"), ("min_user_reviews", "max_user_reviews")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} {getattr(self, low)} is above {high} {getattr(self, high)}")
        return self

    @property
    def splits(self) -> dict[str, range]:
        """Which of a user's inputs, counted from the oldest, belong to which split."""
        val = max(self.holdout - 2, 0)
        test = self.holdout - 1
        return {"train": range(val), "val": range(val, test), "test": range(test, self.holdout)}


BAD_ROW = "row that cannot be read"
NO_TITLE = "review without title"
NO_NUMBERS = "review without rating or timestamp"
SHORT_REVIEW = "review too short"
UNKNOWN_ITEM = "item without metadata"
NO_ITEM_TITLE = "item without title"
DESCRIPTION = "item description missing, too short or too long"
OLDER_REVIEW = "older review of the same item"
REPEATED_TEXT = "text that the user repeats"
RARE_ITEM = "item with too few reviewers"
USER_ACTIVITY = "user with too few or too many reviews"
NO_HOLDOUT = "user with fewer reviews than are held out"
RARE_PROFILE_ITEM = "profile: item with too few reviewers"
SHORT_PROFILE = "profile: user with too few reviews"


class Drop(NamedTuple):
    """What a rule removed, and how many reviews it left."""

    rule: str
    dropped: int
    left: int
