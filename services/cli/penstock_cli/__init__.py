"""The command line: a local installation, models, keys. It starts the services as processes.

The only code of a service that it imports is the gateway's ``auth``, to administer keys.
"""
