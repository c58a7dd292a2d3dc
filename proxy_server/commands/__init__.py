"""The commands of `ultimate-proxy`: one module each with `add(subparsers)`; only the one that is asked for is loaded."""
