"""Networks: one classifier class, built by name, with its weights.

`registry` lists the networks, `info` is what it knows of each, `check_networks` checks those of a run without loading
torch. `build` builds one; `classifier` is the class that all of them have; `cost` counts parameters and MACs. `ofa` and
`timm_networks` are the networks themselves, `heads` and `timm_heads` their last layers.

Weights: `weights` saves and loads our own files; `published_weights` loads the ImageNet weights of others, which
`imagenet_files` finds and `timm_weights` converts; `torchxrayvision` loads a published chest classifier, whose pickled
module `pickled_module` reads; `tensor_files` reads the tensors of any file.
"""
