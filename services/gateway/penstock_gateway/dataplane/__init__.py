"""The one way every request takes: resolve, validate, admit, infer, account."""
