"""How the file of each format is loaded and run: a module a format, imported when the first model has it."""
