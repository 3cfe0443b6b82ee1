"""Points in pictures, and a picture for the documentation."""

from __future__ import annotations

#: x and y in pixels of the picture that was sent.
Point = tuple[float, float]

#: A PNG that says "Penstock 42", in base64.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAIQAAAAgAQAAAAD7su3yAAAAz0lEQVR42s3RMUoDURRG4W9eRo1VUgYszBKmtNKAGwnuwEbFagqLtIJYz1ImYJFK"
    "sgIbU6RQNKKgIS9jMQlBN6CnPBz+W9yk8pNZ8Js/MvO1GfZQ5WB8R9Dqb7LyjEC2MflxvTO4jodF8yufVEdIqZ72zk8ePl66qSSvm+2kzAyYLvP6"
    "+v1VWxYb02wcRYJZQYSsmPskaJWpZhdVj7d6Z2nnFcrng8naKJH090cjAmHhXSN2iox23VyivJB3KAgkN7ZOH293+wvVkOT/fmfFNwaUQII9wLJw"
    "AAAAAElFTkSuQmCC"
)
