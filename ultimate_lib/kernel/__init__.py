"""The kernel extension: `%load_ext ultimate_lib` routes a notebook's clients through the proxy and tells what each cell cost."""
