"""Texts that are nearly the same: resemblance of word shingles, exactly, without comparing every pair.

A text is the set of its runs of five words, lower-cased, without punctuation (Broder, "On the resemblance and
containment of documents", 1997). Two texts are near when their sets have a Jaccard index of at least `threshold`.
Then they share at least `ceil(threshold * m)` of the `m` shingles of one of them, so among any
`m - ceil(threshold * m) + 1` of these there is a shared one. That many of every reference are looked up, the rarest
ones (the prefix filter of set joins), and the pairs that are found are compared in full. Shingles are 64-bit hashes.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.data.row_rules import text_hash

WORDS = 5
FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Shingled:
    """Texts as sets of shingles: those of text `i` are `hashes[offsets[i]:offsets[i + 1]]`, sorted, each once."""

    hashes: np.ndarray
    offsets: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """How many shingles every text has."""
        return np.diff(self.offsets)

    def of(self, text: int) -> np.ndarray:
        """The shingles of a text."""
        return self.hashes[self.offsets[text] : self.offsets[text + 1]]


def shingle(texts: pa.Array) -> Shingled:
    """Cut texts into shingles: uint64. A text of fewer than five words is one shingle, one of none has none."""
    plain = pc.replace_substring_regex(pc.utf8_lower(texts), r"[\p{P}\p{S}]+", " ")
    plain = pc.utf8_trim_whitespace(plain)
    words = pc.utf8_split_whitespace(plain)  # of an empty text: one empty word
    codes = words.flatten().dictionary_encode()
    of_word = np.array([text_hash(word) for word in codes.dictionary.to_pylist()], np.int64).view(np.uint64)
    hashes = of_word[codes.indices.to_numpy()] if len(codes) else np.empty(0, np.uint64)
    begins = words.offsets.to_numpy().astype(np.int64)
    begins -= begins[0]
    lengths = np.diff(begins)
    counts = np.where(pc.equal(plain, "").to_numpy(zero_copy_only=False), 0, np.maximum(lengths - WORDS + 1, 1))
    owners = np.repeat(np.arange(len(counts)), counts)
    starts = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + begins[owners]
    return _sets(_rolled(hashes, starts, begins[owners + 1]), owners, len(counts))


def _rolled(hashes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Combine five hashes from every start on, or as many as there are before its text ends."""
    rolled = np.zeros(len(starts), np.uint64)
    for step in range(WORDS):
        here = starts + step < ends
        added = hashes[np.minimum(starts + step, len(hashes) - 1)] if len(hashes) else rolled
        rolled = np.where(here, rolled * FACTOR + added, rolled)
    return rolled


def _sets(hashes: np.ndarray, owners: np.ndarray, texts: int) -> Shingled:
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    first = np.ones(len(hashes), bool)
    first[1:] = (np.diff(owners) != 0) | (hashes[1:] != hashes[:-1])
    counts = np.bincount(owners[first], minlength=texts)
    return Shingled(hashes[first], np.concatenate([[0], np.cumsum(counts)]))


@dataclass(frozen=True)
class References:
    """Texts that others are compared with, and their rarest shingles in the order of the hashes."""

    texts: Shingled
    threshold: float
    keys: np.ndarray
    owners: np.ndarray

    @classmethod
    def of(cls, texts: Shingled, threshold: float) -> "References":
        """Make the index."""
        owners = np.repeat(np.arange(len(texts.sizes)), texts.sizes)
        _, inverse, counts = np.unique(texts.hashes, return_inverse=True, return_counts=True)
        order = np.lexsort((texts.hashes, counts[inverse], owners))
        rank = np.arange(len(order)) - np.repeat(texts.offsets[:-1], texts.sizes)
        looked_up = texts.sizes - np.ceil(threshold * texts.sizes - 1e-9).astype(np.int64) + 1
        chosen = order[rank < np.repeat(looked_up, texts.sizes)]
        chosen = chosen[np.argsort(texts.hashes[chosen], kind="stable")]
        return cls(texts, threshold, texts.hashes[chosen], owners[chosen])

    def near(self, texts: Shingled) -> list[tuple[int, int]]:
        """Pairs (text, reference) that are near each other."""
        owners = np.repeat(np.arange(len(texts.sizes)), texts.sizes)
        low = np.searchsorted(self.keys, texts.hashes, "left")
        found = np.searchsorted(self.keys, texts.hashes, "right") - low
        positions = np.arange(found.sum()) - np.repeat(np.cumsum(found) - found, found) + np.repeat(low, found)
        pairs = np.unique(np.stack([np.repeat(owners, found), self.owners[positions]], axis=1), axis=0)
        mine, theirs = texts.sizes[pairs[:, 0]], self.texts.sizes[pairs[:, 1]]
        pairs = pairs[np.minimum(mine, theirs) >= self.threshold * np.maximum(mine, theirs)]
        return [
            (text, reference)
            for text, reference in pairs.tolist()
            if jaccard(texts.of(text), self.texts.of(reference)) >= self.threshold
        ]


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """The share of shared shingles among all of two sorted sets."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)
