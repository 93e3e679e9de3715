"""What language models are asked: templates, the prompts made of them, and their shorter versions."""
