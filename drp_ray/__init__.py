"""Difference-aware LLM personalization (DPL, DRP) as a resumable offline inference job on Ray."""

__version__ = "0.1.0"
