"""The phrases of the world that the writer is trained on, which its tokenizer has as single tokens."""

from collections.abc import Iterator
from string import Formatter

from drp_ray.data.sample_words import Kind, Register, Tone, Words

SHORTEST_PHRASE = 6
"""Characters of a phrase that is worth a token."""


def phrases(words: Words) -> list[str]:
    """Every phrase as it stands in texts: after a space or a bracket, with a capital or without, in lower case."""
    found = {piece for template in _templates(words) for piece in _literal_pieces(template)}
    variants = {variant for piece in found for variant in (piece, _capitalised(piece), piece.lower())}
    bracketed = {piece for template in _bracketed(words) for piece in _literal_pieces(template)}
    return sorted({f" {each}" for each in variants} | bracketed | {each.lower() for each in bracketed})


def _templates(words: Words) -> Iterator[str]:
    for kind in words.kinds:
        yield from _of_kind(kind)
    for register in words.registers:
        yield from _of_register(register)
    for tone in words.tones:
        yield from _of_tone(tone)
    yield from words.asides
    yield from (*words.places, *words.times, *words.companions)


def _of_kind(kind: Kind) -> Iterator[str]:
    yield from (kind.title, kind.description, kind.trial, *kind.stories)
    yield from (choice for choices in kind.slots.values() for choice in choices)
    for aspect in kind.aspects:
        yield from (aspect.name, *aspect.good, *aspect.bad)


def _of_register(register: Register) -> Iterator[str]:
    yield from (*register.openers, *register.frames)
    for by_mood in (register.claims, register.verdicts, register.titles):
        yield from (template for templates in by_mood.values() for template in templates)


def _of_tone(tone: Tone) -> Iterator[str]:
    yield from (remark for remarks in tone.remarks.values() for remark in remarks)


def _bracketed(words: Words) -> Iterator[str]:
    """What may stand in brackets: reasons, and what introduces them."""
    for kind in words.kinds:
        yield kind.trial
        yield from (clause for aspect in kind.aspects for clause in (*aspect.good, *aspect.bad))
    yield from (frame for register in words.registers for frame in register.frames)


def _literal_pieces(template: str) -> Iterator[str]:
    for literal, *_ in Formatter().parse(template):
        for sentence in literal.replace(". ", ".\n").splitlines():
            piece = sentence.strip(" .,:;")
            if len(piece) >= SHORTEST_PHRASE and " " in piece:
                yield piece


def _capitalised(piece: str) -> str:
    return piece[:1].upper() + piece[1:]
