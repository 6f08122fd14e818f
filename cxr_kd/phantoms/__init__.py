"""How a phantom is drawn, from the body outwards; `data/phantom.py` writes and reads the data set."""
