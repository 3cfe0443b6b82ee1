"""Routes for what people want done, such as ``/v1/translate``: one module a route."""
