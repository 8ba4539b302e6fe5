"""Arrays of one variable: transforms, their kernels, the buffer they lie in."""
