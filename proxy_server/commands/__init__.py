"""The commands of `ultimate-proxy`: a module each with `add(subparsers)`, loaded when it is asked for."""
