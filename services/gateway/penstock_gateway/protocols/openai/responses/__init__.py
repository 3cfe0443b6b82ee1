"""OpenAI's ``/v1/responses``: an answer of a language model, which may be kept for later requests."""
