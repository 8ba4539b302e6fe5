"""A region job: what dataset authors override, and the machinery that carries it out."""
