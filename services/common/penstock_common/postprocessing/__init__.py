"""Post-processing steps, which turn what a model's file gives into the outputs that its manifest declares."""
