"""Domain logic of the workbench: knows no web framework, no Jupyter server, no face. Importing it loads nothing heavy."""
