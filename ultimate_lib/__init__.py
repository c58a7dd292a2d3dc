"""Domain logic of the workbench: knows no web framework, no Jupyter, no face. Importing it loads nothing heavy."""
