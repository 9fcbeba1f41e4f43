"""Groups of parameters, whose gradient norms are recorded."""

from lmladder.autograd import Tensor
from lmladder.models.neural import NeuralLanguageModel
from lmladder.nn import Embedding, LayerNorm, Module, RmsNorm


def parameter_groups(model: NeuralLanguageModel) -> dict[str, list[Tensor]]:
    """Return the parameters of any model by purpose, in the order in which they are found.

    Embeddings are "embedding" (also where the head shares them), the scales and shifts of norms
    "norm", the layer called unembedding "head". All others belong to the part of the model, or of a
    block, that their names contain: "blocks.0.feed_forward.up_proj.weight" to "feed_forward",
    "layers.0.bias" to "layers".
    """
    modules = dict(model.modules())
    groups: dict[str, list[Tensor]] = {}
    for name, tensor in model.parameters().items():
        owner = name.rpartition(".")[0]
        groups.setdefault(_group(owner or name, modules[owner]), []).append(tensor)
    return groups


def _group(name: str, module: Module) -> str:
    if isinstance(module, Embedding):
        return "embedding"
    if isinstance(module, LayerNorm | RmsNorm):
        return "norm"
    if name.endswith("unembedding"):
        return "head"
    first, *rest = name.split(".")
    named = [part for part in rest if not part.isdecimal()]
    in_list = bool(rest) and rest[0].isdecimal()
    return named[0] if in_list and named else first
