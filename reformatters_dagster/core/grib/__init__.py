"""GRIB2 messages: from an index and bytes to fields on the template's grid.

| module | from | to |
|---|---|---|
| `idx`, `mars_index` | the text of an `.idx`, an `.index` | entries, and the one that is meant |
| `index` | entries of an index file | byte ranges |
| `sections` | the bytes of a message | sections |
| `header` | sections | identity, packing and grid |
| `identity` | a header | an error, where it is another message |
| `messages` | the bytes of a message | a field |
| `packing`, `kernels` | packed numbers | float32 values (`_UNPACKERS` lists the packings; `apart` takes the others) |
| `code_stream` | a JPEG 2000 code stream | an error, where it is not what the message says |
| `apart`, `pygrib_child` | a message of a rarer packing | its values, by ecCodes in a process that may die |
| `second_decoder`, `eccodes_child` | messages and a box of the globe | points and values there, by another decoder |
| `grid_order` | a message's order of points | the template's |
| `regrid` | a coarse global field | a finer one |
"""
