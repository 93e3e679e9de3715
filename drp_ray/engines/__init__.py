"""Language model engines. Each module holds one engine; `base` says what they have in common."""
