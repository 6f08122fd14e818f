"""Image files to 8-bit pixels: `decode` recognises the format, the other modules read one format each."""
