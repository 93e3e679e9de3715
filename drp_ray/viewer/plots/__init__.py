"""Plots as SVG, drawn here: pure functions from numbers to HTML. Colours are the page's own (classes)."""
