"""A job from its configuration to its result."""
