"""Models of other servers that speak OpenAI's API, offered as models of this catalogue."""
