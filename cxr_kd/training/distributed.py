"""The processes that train one network together, started by one of Accelerate's launchers; usually only one."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from cxr_kd.errors import OtherProcessError

Result = TypeVar("Result")
# The others wait while the first computes a teacher's answers. If a process dies, the launcher ends the others.
LONGEST_WAIT = timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together: its `rank` of `count`, and its `device`.

    Each process computes its share of every batch (`Batches.for_process`). The outputs of all shares are gathered
    before the objective, and gradients are summed, so that several processes take the same steps as one process with
    the same batches, apart from rounding. All processes read files; only the first one writes and prints.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @classmethod
    def here(cls) -> "Processes":
        """Return the processes of this launch (`accelerate launch`, `notebook_launcher`), or this process alone."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device="cuda" if torch.cuda.is_available() else "cpu")
        accelerator = _accelerator()
        device = "cpu" if accelerator.device.type == "cpu" else str(accelerator.device)
        return cls(accelerator.process_index, accelerator.num_processes, device)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    @property
    def progress_bar_settings(self) -> dict[str, Any]:
        """Settings for tqdm: show progress bars only in the first process."""
        return {} if self.is_first else {"disable": True}

    def say(self, text: str) -> None:
        """Print a line in the first process only."""
        if self.is_first:
            print(text, flush=True)

    def on_first(self, call: Callable[[], Result]) -> Result:
        """Run `call` in the first process while the others wait; return its result in all of them.

        An error in the first process is raised there, and as OtherProcessError in the others.
        """
        if self.count == 1:
            return call()
        sent: list[Any] = [None, None]  # the result, the error
        if self.is_first:
            try:
                sent[0] = call()
            except BaseException as error:
                distributed.broadcast_object_list([None, f"{type(error).__name__}: {error}"])
                raise
        distributed.broadcast_object_list(sent)
        if sent[1]:
            raise OtherProcessError(f"the first of {self.count} processes stopped: {sent[1]}")
        result: Result = sent[0]
        return result

    @contextmanager
    def hold(self, lock: AbstractContextManager[Any]) -> Iterator[None]:
        """Hold a lock for all processes: the first one takes it, and releases it when all have finished."""
        with lock if self.is_first else nullcontext():
            yield
            self.on_first(lambda: None)

    def with_summed_gradients(self, module: nn.Module) -> nn.Module:
        """Return a module that sums the gradients of all processes; for one process, the module itself."""
        if self.count == 1:
            return module
        parallel: nn.parallel.DistributedDataParallel = _accelerator().prepare_model(module)
        parallel.register_comm_hook(None, _summed)  # not the mean: each process has its share of one loss's gradient
        return parallel

    def gather(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Return each tensor (B, ...) of this process joined with those of the others, in the order of their ranks.

        Gradients flow only into this process's own rows.
        """
        if self.count == 1:
            return list(parts)
        lengths = self._lengths(len(parts[0]), parts[0].device)
        return [self._gather(part, lengths) for part in parts]

    def gather_texts(self, part: Sequence[str]) -> list[str]:
        """Return this process's texts joined with those of the others, in the order of their ranks."""
        lists: list[Any] = [list(part)] * self.count
        if self.count > 1:
            distributed.all_gather_object(lists, list(part))
        return [text for texts in lists for text in texts]

    def _lengths(self, own: int, device: torch.device) -> list[int]:
        lengths = torch.zeros(self.count, dtype=torch.int64, device=device)
        lengths[self.rank] = own
        distributed.all_reduce(lengths)
        return [int(length) for length in lengths]

    def _gather(self, part: Tensor, lengths: list[int]) -> Tensor:
        sent = part.detach().to(torch.uint8) if part.dtype == torch.bool else part.detach()
        missing = sent.new_zeros(max(lengths) - len(sent), *sent.shape[1:])
        padded = torch.cat([sent, missing]).contiguous()
        received = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(received, padded)
        rows = [each[:length].to(part.dtype) for each, length in zip(received, lengths, strict=True)]
        rows[self.rank] = part  # with its gradient
        return torch.cat(rows)


ALONE = Processes()


@functools.cache
def _accelerator() -> Any:
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    # Buffers are not broadcast: batch statistics are already those of all processes (`sync_batchnorm`).
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False), InitProcessGroupKwargs(timeout=LONGEST_WAIT)]
    return Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=handlers)


def _summed(_: None, bucket: distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
    reduced = distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    summed: torch.futures.Future[Tensor] = reduced.then(lambda future: future.value()[0])
    return summed
