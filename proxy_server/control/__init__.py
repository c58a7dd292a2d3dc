"""Pages and the REST interface: everything that is not a call. One table of routes, one handler for all of them."""
