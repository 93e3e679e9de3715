"""Datasets: where users, their reviews and the items they wrote about come from."""
