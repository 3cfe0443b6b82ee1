"""One module for each wire protocol: parse the request, call the data plane, word the answer."""
