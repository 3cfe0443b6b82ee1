"""An object store: a folder, or a bucket of S3, Google Cloud Storage or Azure Blob Storage, named by a URL.

Only buckets need obstore, which is a dependency of the services that open one.
"""
