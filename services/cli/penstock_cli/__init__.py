"""The command line: a local installation, models, keys. It starts the services as processes.

Of the services' code it imports only the gateway's ``auth``, for the administration of keys.
"""
