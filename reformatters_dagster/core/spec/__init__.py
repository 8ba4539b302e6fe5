"""What a dataset is: variables, axes, grids, sources, template, regions; and the words and errors of all other rooms."""
