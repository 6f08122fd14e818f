from torch.utils._python_dispatch import TorchDispatchMode


class MutationsSeen(TorchDispatchMode):
    """Records every operation that writes into one of its arguments."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.is_mutable:
            self.operations.append(str(func))
        return func(*args, **(kwargs or {}))
