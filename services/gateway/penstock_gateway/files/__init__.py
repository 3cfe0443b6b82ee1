"""The files of ``/v1/files``: their records in the database of the keys, their contents in an object store."""
