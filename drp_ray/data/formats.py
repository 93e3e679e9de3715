"""How the kinds of raw files name the fields of reviews and items. A new kind is two structs and a `Format`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import msgspec

Milliseconds = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
"""A moment, in milliseconds since 1970."""


class RawReview(NamedTuple):
    """A review as it was written. `timestamp` is in milliseconds since 1970; what was null is None."""

    user_id: str
    item_id: str
    rating: float | None
    title: str | None
    text: str | None
    timestamp: int | None


class RawItem(NamedTuple):
    """An item as its shop describes it."""

    item_id: str
    title: str | None
    description: str | None


class ReviewRow(msgspec.Struct):
    """A decoded row of a reviews file."""

    def review(self) -> RawReview:
        """The review in the row; raises ValueError where a value cannot be understood."""
        raise NotImplementedError


class ItemRow(msgspec.Struct):
    """A decoded row of a metadata file."""

    def item(self) -> RawItem:
        """The item in the row."""
        raise NotImplementedError


class AmazonReview(ReviewRow):
    """A row of `raw_review_*` of Amazon Reviews 2023, by the item that was bought (DPL, appendix A).

    The catalogue lists parents of variants. A review of a variant that is not its own parent so names no item.
    """

    user_id: str
    asin: str
    rating: float | None
    title: str | None
    text: str | None
    timestamp: Milliseconds | None

    def review(self) -> RawReview:
        """The review of the item with this `asin`."""
        return RawReview(self.user_id, self.asin, self.rating, self.title, self.text, self.timestamp)


class AmazonParentReview(ReviewRow):
    """The same row, by the parent of the variants that was bought: every review names an item of the catalogue."""

    user_id: str
    parent_asin: str
    rating: float | None
    title: str | None
    text: str | None
    timestamp: Milliseconds | None

    def review(self) -> RawReview:
        """The review of the item with this `parent_asin`."""
        return RawReview(self.user_id, self.parent_asin, self.rating, self.title, self.text, self.timestamp)


class AmazonItem(ItemRow):
    """A row of `raw_meta_*` of Amazon Reviews 2023. The description is a list of paragraphs."""

    parent_asin: str
    title: str | None
    description: list[str | None] | str | None = None

    def item(self) -> RawItem:
        """The item, its paragraphs joined by a space."""
        return RawItem(self.parent_asin, self.title, joined_paragraphs(self.description))


class YelpReview(ReviewRow):
    """A row of `yelp_academic_dataset_review.json`."""

    user_id: str
    business_id: str
    stars: float | None
    text: str | None
    date: str | None

    def review(self) -> RawReview:
        """The review; Yelp's have no title."""
        timestamp = None if self.date is None else milliseconds(self.date)
        return RawReview(self.user_id, self.business_id, self.stars, None, self.text, timestamp)


class YelpBusiness(ItemRow):
    """A row of `yelp_academic_dataset_business.json`."""

    business_id: str
    name: str | None

    def item(self) -> RawItem:
        """The business by its name; there is no description."""
        return RawItem(self.business_id, self.name, None)


def joined_paragraphs(description: list[str | None] | str | None) -> str | None:
    """A description as one text: the paragraphs of a list joined by a space, those that are empty left out."""
    if isinstance(description, list):
        return " ".join(paragraph for paragraph in description if paragraph)
    return description


def milliseconds(date: str) -> int:
    """Milliseconds since 1970 of an ISO date and time; without a zone it is UTC.

    Raises:
        ValueError: it is no such date.
    """
    moment = datetime.fromisoformat(date)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


@dataclass(frozen=True)
class Format:
    """A kind of raw files: how rows decode, and which rules make sense for it."""

    name: str
    review: type[ReviewRow]
    item: type[ItemRow]
    has_titles: bool
    has_descriptions: bool


AMAZON = Format("amazon-asin", AmazonReview, AmazonItem, has_titles=True, has_descriptions=True)
AMAZON_PARENTS = Format("amazon-parent_asin", AmazonParentReview, AmazonItem, has_titles=True, has_descriptions=True)
YELP = Format("yelp", YelpReview, YelpBusiness, has_titles=False, has_descriptions=False)
