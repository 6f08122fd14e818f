"""Networks: one classifier class, built by name, with its weights.

`registry` lists the networks; `build` builds one; `classifier` is the class that all of them have; `weights` saves and
loads our own weights files. Below these: `ofa` and `timm_networks` are the networks themselves, `heads` their last
layers, and `published_weights` the ImageNet weights of others.
"""
