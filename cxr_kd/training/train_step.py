"""A network while it is trained: one step, as fast as the processor allows and the same over several processes."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from cxr_kd.data.loader import Batch
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.outputs import Need, Outputs, observe
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study.settings import Training
from cxr_kd.training.distributed import ALONE, Processes
from cxr_kd.training.ema import WeightEma
from cxr_kd.training.sync_batchnorm import global_statistics


class TrainStep:
    """What changes while a network is trained: `start_step`, `backward` once a batch of the step, `step`.

    Convolutions run in the channels-last layout and AdamW as one fused kernel, together 1.2 times and more as fast as
    without (`benchmarks/train_step.py`).
    """

    def __init__(
        self, model: CxrClassifier, objective: Objective, training: Training, processes: Processes = ALONE
    ) -> None:
        self.model = model.to(processes.device).to(memory_format=torch.channels_last)
        self.objective, self.training, self.processes = objective, training, processes
        objective.module.to(processes.device)
        self.average = WeightEma(model, training.ema_decay) if training.ema_decay else None
        # Weight decay for matrices and kernels only: decaying a norm's scale or a bias regularises nothing.
        matrices, others = ([each for each in self.parameters if (each.ndim > 1) is many] for many in (True, False))
        groups = [
            {"params": matrices, "weight_decay": training.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)
        self._observed = processes.wrap(_Observed(model, objective.needs))

    @property
    def kept(self) -> CxrClassifier:
        """What is validated and saved: the average of weights, if there is one."""
        return self.average.network if self.average else self.model

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by its name in a checkpoint."""
        averaged: dict[str, nn.Module] = {"average": self.average.network} if self.average else {}
        return {"model": self.model, "objective": self.objective.module, **averaged}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes: the network's, and what the objective learns along."""
        modules = (self.model, self.objective.module)
        return [each for module in modules for each in module.parameters() if each.requires_grad]

    @contextmanager
    def training_mode(self) -> Iterator[None]:
        """Within it the network is in training mode, with batch statistics of all processes."""
        self.model.train()
        with global_statistics(self.model, self.processes.count):
            yield

    def start_step(self, learning_rate: float) -> None:
        """Forget the last step's gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)

    def backward(
        self, batch: Batch, teacher: Outputs | None, *, parts: int = 1, last: bool = True
    ) -> dict[str, Tensor]:
        """Add the gradient of a batch's loss over `parts`; give the loss and its terms, of all processes' shares.

        `batch` is this process's share, and `teacher` what was said of it; gradients meet at the `last` part of a step.
        """
        device = self.processes.device
        with nullcontext() if last else self._unsummed():
            with precision(self.training.precision, device):
                student: Outputs = self._observed(batch.images.to(device))
            student, teacher = self._of_all(student), None if teacher is None else self._of_all(teacher.to(device))
            labels, known = self.processes.gathered([batch.labels.to(device), batch.known.to(device)])
            loss, terms = self.objective(student, teacher, labels, known)
            (loss / parts).backward()
        return {"loss": loss.detach(), **terms}

    def clip(self) -> Tensor:
        """Shorten the gradient to its largest norm; give the norm that it had."""
        return nn.utils.clip_grad_norm_(self.parameters, self.training.gradient_clip)

    def step(self, number: int) -> None:
        """Take the step, the `number`-th of the training."""
        self.optimizer.step()
        if self.average:
            self.average.update(self.model, number)

    def _of_all(self, outputs: Outputs) -> Outputs:
        return outputs if self.processes.count == 1 else outputs.each(lambda part: self.processes.gathered([part])[0])

    def _unsummed(self) -> AbstractContextManager[None]:
        if isinstance(self._observed, nn.parallel.DistributedDataParallel):
            unsummed: AbstractContextManager[None] = self._observed.no_sync()
            return unsummed
        return nullcontext()


class _Observed(nn.Module):
    """`observe` as a module, for what wraps modules to wrap it."""

    def __init__(self, model: CxrClassifier, needs: Collection[Need]) -> None:
        super().__init__()
        self.model, self.needs = model, needs

    def forward(self, images: Tensor) -> Outputs:
        return observe(self.model, images, self.needs)


def precision(wanted: str, device: str) -> torch.autocast:
    """Automatic mixed precision where it is asked for and the device has it."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=wanted == "bf16" and has_bf16(device))


def has_bf16(device: str) -> bool:
    """A CPU always has it, if only emulated, which a test can use; a graphics card from Ampere on."""
    return not device.startswith("cuda") or torch.cuda.is_bf16_supported(including_emulation=False)
