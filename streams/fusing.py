"""A CNN in, the same function with fewer passes over memory out: BatchNorm folded, convolutions fused."""

import operator
from collections.abc import Iterator

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import pad_same
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

# Activations that oneDNN applies while a convolution writes its output: its name for them, and its numbers.
FUSED_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}
FUSED_AFTER_ADDITION = (nn.Identity, nn.ReLU)  # PyTorch refuses oneDNN's others after an addition


class FusedConv2d(nn.Module):
    """A convolution, an addition and an activation as one oneDNN call: (B, C, H, W) -> (B, C', H', W').

    forward takes the tensor that is added before the activation, if any, as its second argument.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.weight, self.activation = conv.weight, activation
        # No parameter, so that it stays in float32 where the weight becomes bfloat16: oneDNN adds it to float32
        # sums, and a rounded bias is a steady error (a fifth of MobileNetV1's mean 1 - cosine).
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.padding: list[int] = list(map(int, conv.padding))
        self.stride, self.dilation = list(conv.stride), list(conv.dilation)
        self.groups, self.same_padding = conv.groups, isinstance(conv, Conv2dSame)
        self._packed: tuple[torch.Size, torch.dtype, Tensor] | None = None

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        if self.same_padding:
            x = pad_same(x, list(self.weight.shape[2:]), self.stride, self.dilation)
        geometry = (self.padding, self.stride, self.dilation, self.groups)
        weight, (unary, numbers) = self._packed_weight(x), FUSED_ACTIVATIONS[type(self.activation)]
        convolve = torch.ops.mkldnn._convolution_pointwise
        y: Tensor
        if added is None:
            y = convolve(x, weight, self.bias, *geometry, unary, numbers, "")
        elif added.shape == self._output_shape(x):
            unary_or_none = None if unary == "none" else unary
            bias = None if self.bias is None else self.bias.to(x.dtype)  # here PyTorch insists
            y = convolve.binary(x, added, weight, bias, *geometry, "add", 1.0, unary_or_none, numbers, "")
        else:  # oneDNN adds equal shapes only: broadcast
            y = self.activation(convolve(x, weight, self.bias, *geometry, "none", [], "") + added)
        return y

    def _output_shape(self, x: Tensor) -> tuple[int, ...]:
        """(B, C', H', W') for an input (B, C, H, W), by the formula of nn.Conv2d."""
        sides = []
        for axis in (0, 1):
            reach = self.dilation[axis] * (self.weight.shape[axis + 2] - 1) + 1
            sides.append((x.shape[axis + 2] + 2 * self.padding[axis] - reach) // self.stride[axis] + 1)
        return (x.shape[0], self.weight.shape[0], *sides)

    def _packed_weight(self, x: Tensor) -> Tensor:
        """The weight in the layout that oneDNN wants for inputs like x, kept for the next of its shape.

        A dense weight is packed anew in every call: for inception_resnet_v2 18 ms, of 98 for one frame and 565
        for eight. One packed for another shape is up to 4 times slower than that, so the shape is the key.
        """
        packed = self._packed  # read once: another thread may replace it
        if packed is None or packed[:2] != (x.shape, self.weight.dtype):
            pack = torch.ops.mkldnn._reorder_convolution_weight
            weight = pack(self.weight, self.padding, self.stride, self.dilation, self.groups, list(x.shape))
            packed = self._packed = (x.shape, self.weight.dtype, weight)
        return packed[2]


def fold(cnn: nn.Module) -> fx.GraphModule | None:
    """`cnn` as a graph, BatchNorm and constant factors folded into the convolutions before them, in place.

    `cnn` is in evaluation mode and in float32, and takes one tensor. None where it cannot be traced (its path
    depends on its input) or has no convolution: it then has to run as it is.
    """
    traced = _trace(cnn)
    if traced is None:
        return None
    convolutions = list(_convolutions(traced))
    _drop_identities(traced)
    for node, conv in convolutions:
        _fold_norm(traced, node, conv)
    _drop_identities(traced)
    for node, conv in convolutions:
        _fold_factor(traced, node, conv)
    return _clean(traced) if convolutions else None


def fuse(traced: fx.GraphModule) -> fx.GraphModule:
    """Make each convolution and the addition and activation after it one FusedConv2d; for CPUs only."""
    for node, conv in _convolutions(traced):
        tail: list[fx.Node] = []
        activation: nn.Module = nn.Identity()
        if (added := _added(traced, node)) is not None:
            tail.append(node.next)
            node.args = (*node.args, added)
        user = _sole_user(tail[-1] if tail else node)
        module = _module(traced, user)
        fusible = FUSED_AFTER_ADDITION if tail else FUSED_ACTIVATIONS
        if user is not None and module is not None and type(module) in fusible:
            tail.append(user)
            activation = module
        _replace(traced, node, FusedConv2d(conv, activation))
        if tail:
            tail[-1].replace_all_uses_with(node)
        for done in reversed(tail):
            traced.graph.erase_node(done)
    return _clean(traced)


def keep_stem(traced: fx.GraphModule, dtype: torch.dtype) -> list[str]:
    """Let the graph run in float32 up to its first depthwise convolution, and in `dtype` from there on.

    Returns the names of the modules that have to stay in float32; none where there is no such convolution, or
    the way to it forks.
    """
    first = node = next(node for node in traced.graph.nodes if node.op == "placeholder")
    names: list[str] = []
    while (user := _sole_user(node)) is not None and (module := _module(traced, user)) is not None:
        names.append(str(user.target))
        if is_depthwise(module):
            _cast(traced, first, torch.float32)
            _cast(traced, user, dtype)
            traced.recompile()
            return names
        node = user
    return []


def is_depthwise(module: nn.Module) -> bool:
    """Whether a module is a convolution of each channel by itself."""
    return isinstance(module, nn.Conv2d | FusedConv2d) and module.groups > 1 and module.weight.shape[1] == 1


def _cast(traced: fx.GraphModule, node: fx.Node, dtype: torch.dtype) -> None:
    """Bring the output of `node` to `dtype` for all that use it."""
    with traced.graph.inserting_after(node):
        cast = traced.graph.call_method("to", (node, dtype))
    node.replace_all_uses_with(cast, delete_user_cb=lambda user: user is not cast)


class _Proxy(fx.Proxy):
    """A value of the graph under whose other names += is seen, too; fx itself would trace an addition."""

    def __iadd__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __imul__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})


class _Tracer(fx.Tracer):
    """Keeps convolutions and norms whole, timm's own kinds of them too."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


class _OneInput(nn.Module):
    """Hides the optional arguments of a forward, which tracing would take for given ones."""

    def __init__(self, cnn: nn.Module) -> None:
        super().__init__()
        self.cnn = cnn

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cnn(x)
        return y


def _trace(cnn: nn.Module) -> fx.GraphModule | None:
    """The graph of `cnn` over its modules; None where it has none that holds for every input."""
    root = _OneInput(cnn).eval()
    try:
        return fx.GraphModule(root, _Tracer().trace(root))
    except Exception:  # foreign code under symbolic inputs fails in any way there is
        return None


def _clean(traced: fx.GraphModule) -> fx.GraphModule:
    """`traced`, with its modules and code brought up to its changed graph."""
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _convolutions(traced: fx.GraphModule) -> Iterator[tuple[fx.Node, nn.Conv2d]]:
    """The plain 2-D convolutions that are called from one place only, and their nodes."""
    for node in list(traced.graph.nodes):
        conv = _module(traced, node)
        if isinstance(conv, nn.Conv2d) and type(conv) in (nn.Conv2d, Conv2dSame):
            plain = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
            if plain and _called_once(traced, node):
                yield node, conv


def _module(traced: fx.GraphModule, node: fx.Node | None) -> nn.Module | None:
    """The module that `node` calls, if it calls one."""
    return traced.get_submodule(str(node.target)) if node is not None and node.op == "call_module" else None


def _called_once(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether nothing else in the graph calls the module of `node` or reads its tensors."""
    names = [str(other.target) for other in traced.graph.nodes if other.op in ("call_module", "get_attr")]
    return sum(f"{name}.".startswith(f"{node.target}.") for name in names) == 1


def _sole_user(node: fx.Node) -> fx.Node | None:
    """The one node that uses the output of `node`; None if there are others."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _replace(traced: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Let `node` call `module` instead of the module it calls."""
    parent, _, name = str(node.target).rpartition(".")
    setattr(traced.get_submodule(parent), name, module)


def _drop_identities(traced: fx.GraphModule) -> None:
    """Take the modules that do nothing out of the graph: they stand between what can be folded or fused."""
    for node in list(traced.graph.nodes):
        if type(_module(traced, node)) is nn.Identity and isinstance(node.args[0], fx.Node):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)


def _fold_norm(traced: fx.GraphModule, node: fx.Node, conv: nn.Conv2d) -> None:
    """Fold the BatchNorm after a convolution into its weights; the norm's own activation takes its place."""
    user = _sole_user(node)
    norm = _module(traced, user)
    if user is None or not isinstance(norm, nn.BatchNorm2d) or type(norm) not in (nn.BatchNorm2d, BatchNormAct2d):
        return
    if norm.running_mean is None or norm.running_var is None or not _called_once(traced, user):
        return
    activation = norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()  # its dropout is no inference
    moments = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *moments)
    _replace(traced, user, activation)


def _fold_factor(traced: fx.GraphModule, node: fx.Node, conv: nn.Conv2d) -> None:
    """Fold a constant factor after a convolution into its weights: the residual scale of Inception-ResNet."""
    user = _sole_user(node)
    if user is None or user.op != "call_function" or user.target not in (operator.mul, operator.imul):
        return
    factor = user.args[1] if user.args[0] is node else user.args[0]
    if not isinstance(factor, int | float):
        return
    conv.weight = nn.Parameter(conv.weight * factor)
    conv.bias = nn.Parameter(conv.bias * factor) if conv.bias is not None else None
    user.replace_all_uses_with(node)
    traced.graph.erase_node(user)


def _added(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """What is added to a convolution's output right after it, if that can be done within it.

    Only a node right after it: one further on may come after a change in place of what is added.
    """
    user = _sole_user(node)
    if user is None or user is not node.next or user.op != "call_function" or len(user.args) != 2 or user.kwargs:
        return None
    left, right = user.args
    added = right if left is node else left
    if user.target not in (operator.add, operator.iadd, torch.add) or added is node or not isinstance(added, fx.Node):
        return None
    # "left += convolution": the change of left must have no other witness.
    fresh = isinstance(_module(traced, added), nn.Conv2d | FusedConv2d) and len(added.users) == 1
    return added if user.target is not operator.iadd or left is node or fresh else None
