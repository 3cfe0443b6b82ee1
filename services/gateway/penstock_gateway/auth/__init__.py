"""Who is calling: a request's credential becomes a principal.

``authenticator`` and ``principal`` are what the rest of the gateway sees. API keys: ``key_ring`` authenticates from
memory, ``key_sources`` fills it, ``key_admin`` creates, lists and revokes keys, ``key_record`` is their form at rest.
"""
