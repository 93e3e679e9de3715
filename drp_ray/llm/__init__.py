"""Asks language models on behalf of rows, and reads what they answer."""
