"""A teacher of a study: a network to train, or published weights that are used as they are."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from cxr_kd.study.published import NETWORKS, Published
from cxr_kd.study.settings import NetworkName, OwnPretrained, Settings, Training


class Teacher(Settings):
    """A teacher. A study may write the network's name alone: `teachers: [densenet121]`."""

    network: NetworkName
    pretrained: OwnPretrained = None
    training: Training | None = Field(None, description="default: the study's teacher_training")
    weights: Published | None = Field(None, description="published weights of a chest classifier, not trained here")

    @model_validator(mode="after")
    def _published_weights_are_not_trained(self) -> Self:
        if not self.weights:
            return self
        if self.training or self.pretrained is not None:
            raise ValueError("published weights are used as they are: leave out 'training' and 'pretrained'")
        if self.network != (network := NETWORKS[self.weights.layout]):
            raise ValueError(f"weights of layout {self.weights.layout} are those of a {network}, not {self.network}")
        return self


def _named(teacher: Any) -> Any:
    return {"network": teacher} if isinstance(teacher, str) else teacher


TeacherEntry = Annotated[Teacher, BeforeValidator(_named)]
