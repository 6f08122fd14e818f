"""One training step of a network, as fast as the processor allows, with the same result over several processes."""

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
    """A network with its objective and optimiser: `start_step`, `backward` for each batch of the step, `step`.

    Convolutions use the channels-last layout and AdamW runs as one fused kernel: together at least 1.2 times as fast
    as without (`benchmarks/train_step.py`).
    """

    def __init__(
        self, model: CxrClassifier, objective: Objective, training: Training, processes: Processes = ALONE
    ) -> None:
        self.model = model.to(processes.device).to(memory_format=torch.channels_last)
        self.objective, self.training, self.processes = objective, training, processes
        objective.module.to(processes.device)
        self.ema = WeightEma(model, training.ema_decay) if training.ema_decay else None
        self.optimizer = torch.optim.AdamW(self._groups(), lr=training.learning_rate, fused=True)
        self._observed = processes.with_summed_gradients(_Observed(model, objective.needs))

    @property
    def best_candidate(self) -> CxrClassifier:
        """The network that is validated and saved: the moving average, if there is one."""
        return self.ema.network if self.ema else self.model

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by its name in a checkpoint."""
        ema: dict[str, nn.Module] = {"ema": self.ema.network} if self.ema else {}
        return {"model": self.model, "objective": self.objective.module, **ema}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes: the parameters of the network and of the objective."""
        modules = (self.model, self.objective.module)
        return [each for module in modules for each in module.parameters() if each.requires_grad]

    @contextmanager
    def training_mode(self) -> Iterator[None]:
        """Put the network in training mode, with batch statistics over all processes within this context."""
        self.model.train()
        with global_statistics(self.model, self.processes.count):
            yield

    def start_step(self, learning_rate: float) -> None:
        """Set the learning rate and discard the last step's gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)

    def backward(
        self, batch: Batch, answers: Outputs | None, *, parts: int = 1, last: bool = True
    ) -> dict[str, Tensor]:
        """Add the gradient of a batch's loss, divided by `parts`; return the loss and its terms over all processes.

        `batch` is this process's share, and `answers` the teacher's outputs for it. Gradients are summed over processes
        at the `last` part of a step.
        """
        device = self.processes.device
        with nullcontext() if last else self._without_summing():
            with precision(self.training.precision, device):
                student: Outputs = self._observed(batch.images.to(device))
            student, answers = self._of_all(student), None if answers is None else self._of_all(answers.to(device))
            each = (batch.labels, batch.known, batch.source_log_odds)
            loss, terms = self.objective(student, answers, *self.processes.gather([part.to(device) for part in each]))
            (loss / parts).backward()
        return {"loss": loss.detach(), **terms}

    def clip(self) -> Tensor:
        """Shorten the gradient to at most its largest allowed norm; return the norm before."""
        return nn.utils.clip_grad_norm_(self.parameters, self.training.gradient_clip)

    def step(self, number: int) -> None:
        """Take the optimiser step with this number, counted over the whole training."""
        self.optimizer.step()
        if self.ema:
            self.ema.update(self.model, number)

    def _groups(self) -> list[dict[str, object]]:
        """Return the parameters in two groups: with weight decay, and without (`CxrClassifier.undecayed`)."""
        undecayed = self.model.undecayed()
        exempt = {id(each) for name, each in self.model.named_parameters() if name in undecayed}
        exempt |= {id(each) for each in self.objective.module.parameters() if each.ndim <= 1}
        return [
            {
                "params": [each for each in self.parameters if (id(each) in exempt) is without],
                "weight_decay": 0.0 if without else self.training.weight_decay,
            }
            for without in (False, True)
        ]

    def _of_all(self, outputs: Outputs) -> Outputs:
        return outputs if self.processes.count == 1 else outputs.each(lambda part: self.processes.gather([part])[0])

    def _without_summing(self) -> AbstractContextManager[None]:
        if isinstance(self._observed, nn.parallel.DistributedDataParallel):
            without: AbstractContextManager[None] = self._observed.no_sync()
            return without
        return nullcontext()


class _Observed(nn.Module):
    """`observe` as a module, because DistributedDataParallel wraps modules."""

    def __init__(self, model: CxrClassifier, needs: Collection[Need]) -> None:
        super().__init__()
        self.model, self.needs = model, needs

    def forward(self, images: Tensor) -> Outputs:
        return observe(self.model, images, self.needs)


def precision(wanted: str, device: str) -> torch.autocast:
    """Return the context of automatic mixed precision, enabled if it is wanted and the device has it."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=wanted == "bf16" and has_bf16(device))


def has_bf16(device: str) -> bool:
    """Return whether a device has bf16: graphics cards from Ampere on; a CPU always, emulated if needed."""
    return not device.startswith("cuda") or torch.cuda.is_bf16_supported(including_emulation=False)
