"""The kernel extension: clients through the proxy, and what each cell cost."""
