"""The gateway's database, SQLite or PostgreSQL: ``connect`` opens it, ``migrate`` makes its tables what they should be.

The rooms that keep something in it define their tables: ``auth`` the keys, ``stored_responses`` the responses,
``files`` and ``batches`` what they are named after.
"""
