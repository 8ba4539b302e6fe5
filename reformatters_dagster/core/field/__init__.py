"""Arrays of one variable between decoding and writing.

| module | what lies in it |
|---|---|
| `buffer` | the values of one variable, in memory or on the tmp disk |
| `transforms` | deaccumulate, interpolate, round, in place |
| `kernels` | the compiled loops of `transforms` |
| `expected` | what published values must be, worked out a second time from the source's numbers |
"""
