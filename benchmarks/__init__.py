"""The benchmark of the whole path; it prints ratios to baselines that were measured in the same run."""
