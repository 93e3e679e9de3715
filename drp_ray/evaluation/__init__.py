"""How good predictions are: `metrics` compares texts, `wordnet` finds the dictionary that METEOR needs."""
