"""The processes that train one network together, started by one of Accelerate's launchers; mostly it is one alone."""

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
LONGEST_WAIT = timedelta(days=7)  # while the first asks a teacher; where a process dies, the launcher ends the others


@dataclass(frozen=True)
class Processes:
    """This process among those that train together: its `rank` of `count`, and its `device`.

    Each computes its share of every batch (`Batches.for_process`). What they say of their shares is brought together
    before the objective, and gradients are summed, so that several processes take the steps that one would take with
    the same batches, but for rounding. Files are read by all, and written, like what is printed, by the first alone.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @classmethod
    def here(cls) -> "Processes":
        """Those that this process was started among (`accelerate launch`, `notebook_launcher`), or it alone."""
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
    def one_bar(self) -> dict[str, Any]:
        """Settings for tqdm that keep all bars but the first process's away; that one's stay as tqdm has them."""
        return {} if self.is_first else {"disable": True}

    def say(self, text: str) -> None:
        """Print a line, once."""
        if self.is_first:
            print(text, flush=True)

    def first(self, do: Callable[[], Result]) -> Result:
        """What `do` gives in the first process, which alone runs it while the others wait; an error there ends all."""
        if self.count == 1:
            return do()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = do()
            except BaseException as error:
                distributed.broadcast_object_list([None, f"{type(error).__name__}: {error}"])
                raise
        distributed.broadcast_object_list(told)
        if told[1]:
            raise OtherProcessError(f"the first of {self.count} processes stopped: {told[1]}")
        result: Result = told[0]
        return result

    @contextmanager
    def holding(self, lock: AbstractContextManager[Any]) -> Iterator[None]:
        """Hold a lock for all of them: the first takes it, and gives it back when all have come to the end."""
        with lock if self.is_first else nullcontext():
            yield
            self.first(lambda: None)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module, or one that calls it and adds up the gradients of all processes."""
        if self.count == 1:
            return module
        parallel: nn.parallel.DistributedDataParallel = _accelerator().prepare_model(module)
        parallel.register_comm_hook(None, _summed)  # not their mean: each has its share of one loss's gradient
        return parallel

    def gathered(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor (B, ...) of this process with those of the others, in the order of their ranks.

        A gradient passes to this process's own part alone.
        """
        if self.count == 1:
            return list(parts)
        lengths = self._lengths(len(parts[0]), parts[0].device)
        return [self._gathered(part, lengths) for part in parts]

    def listed(self, part: Sequence[str]) -> list[str]:
        """A list of texts of this process with those of the others."""
        lists: list[Any] = [list(part)] * self.count
        if self.count > 1:
            distributed.all_gather_object(lists, list(part))
        return [text for texts in lists for text in texts]

    def _lengths(self, own: int, device: torch.device) -> list[int]:
        lengths = torch.zeros(self.count, dtype=torch.int64, device=device)
        lengths[self.rank] = own
        distributed.all_reduce(lengths)
        return [int(length) for length in lengths]

    def _gathered(self, part: Tensor, lengths: list[int]) -> Tensor:
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

    # Buffers are not sent around: batch statistics are those of all processes already (`sync_batchnorm`).
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False), InitProcessGroupKwargs(timeout=LONGEST_WAIT)]
    return Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=handlers)


def _summed(_: None, bucket: distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
    reduced = distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    summed: torch.futures.Future[Tensor] = reduced.then(lambda future: future.value()[0])
    return summed
