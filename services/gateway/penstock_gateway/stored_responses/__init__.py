"""The answers of ``/v1/responses`` that are kept for their callers: ``response_store`` is what the rest of the gateway sees."""
