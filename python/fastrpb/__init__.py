"""The transformer of fastrpb/nn in plain PyTorch: files and numbers are exchangeable with it. See README.md for the conventions."""

from .attention import attention, full_table, linear_attention, softmax_attention, toeplitz
from .transformer import Transformer, load_model, save_model

__all__ = ["Transformer", "attention", "full_table", "linear_attention", "load_model", "save_model", "softmax_attention", "toeplitz"]
