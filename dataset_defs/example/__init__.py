"""What a contributor starts from: `reformat new-dataset` copies one of these. They work, and are in no list of datasets."""
