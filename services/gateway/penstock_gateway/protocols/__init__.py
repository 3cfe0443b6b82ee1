"""One module for each wire protocol: parse the request, call the data plane, write the answer."""
