"""What is in an image file, format by format; `data/decode.py` tells which it is."""
