"""How the file of each format is loaded and run: one module for each format."""
