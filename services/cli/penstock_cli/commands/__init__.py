"""The commands of ``penstock``. A package that only some commands need is imported inside those."""
