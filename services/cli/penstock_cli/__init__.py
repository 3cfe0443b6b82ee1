"""The command line behind a local installation. Starts the services as processes; imports none of them."""
