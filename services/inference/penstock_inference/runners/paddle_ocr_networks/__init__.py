"""PaddleOCR's networks, and what happens to a picture between them."""
