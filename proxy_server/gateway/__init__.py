"""The gateway: the hot path of a call. Loads no data frame library, reads no lake, runs no query on the loop."""
