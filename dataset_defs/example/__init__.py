"""What a contributor starts from: `reformat new-dataset` copies it. It works, and is in no list of datasets."""
