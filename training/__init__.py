"""How the sample writer was made: a small language model that knows only the world of the generated sample."""
